"""What a data set folder holds: documents, densities, duplicates, sides, counts."""

import dataclasses
import json
from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatron_music.data.build import build
from megatron_music.data.indexed import IndexedReader
from megatron_music.data.manifest import read_manifest
from megatron_music.data.report.verify import verify
from megatron_music.data.settings import SPLITS, BuildSettings, like
from megatron_music.data.shards.scan import density_edges
from megatron_music.data.sources.labels import folder_labels
from megatron_music.data.sources.open import folder_source, labelled
from megatron_music.errors import UsageError
from megatron_music.progress import Progress, silent_stage
from megatron_music.score.notes import Score
from megatron_music.tokenizer.codec import decode, note_rates
from megatron_music.tokenizer.hidden_bars import is_hidden, restore
from megatron_music.tokenizer.instrumentations import candidates
from megatron_music.tokenizer.places_in_piece import load_places
from megatron_music.tokenizer.vocabulary import load_vocabulary
from tests.data.collection import (
    Choir,
    Song,
    as_score,
    files_of,
    folder_of_songs,
    song,
    songs,
    source_of,
)

HALVES = BuildSettings(split=(50, 25, 25))


def lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "files.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def documents(folder: Path, split: str) -> list[np.ndarray]:
    reader = IndexedReader(folder / split)
    return [reader[index] for index in range(len(reader))]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of thirty songs, and of one of them again in another key."""
    folder = tmp_path_factory.mktemp("build") / "set"
    build(source_of([*songs(30), Song("again", 3, shift=4)]), folder, HALVES)
    return folder


def test_the_folder_holds_what_the_contract_says(made: Path) -> None:
    suffixes = ("bin", "idx", "places.npy")
    pairs = {f"{split}.{suffix}" for split in SPLITS for suffix in suffixes}
    tokenizer = {f"tokenizer/{n}.json" for n in ("mmmtrack", "tokenizer", "tokenizer_config")}
    others = {"files.jsonl", "manifest.json", "README.md"}
    assert set(files_of(made)) == pairs | tokenizer | others
    assert not (made / ".build").exists()
    assert read_manifest(made)["vocabulary_hash"] == load_vocabulary(made / "tokenizer").hash


def test_places_say_which_bars_of_which_length_of_piece_a_document_holds(tmp_path: Path) -> None:
    settings = dataclasses.replace(HALVES, bars=4, hop=2, transpositions=3, fill=True)
    build(source_of([*songs(20), Song("again", 3, shift=4)]), tmp_path / "set", settings)
    for split in SPLITS:
        places = load_places(tmp_path / "set" / split, len(documents(tmp_path / "set", split)))
        assert places is not None
        pieces = [line for line in lines(tmp_path / "set") if line["split"] == split]
        # Six bars: windows from bars 0 and 2, in all keys, each shown and with bars hidden.
        copies = 2 * (3 if split == "train" else 1)
        assert places.tolist() == ([[0, 6]] * copies + [[2, 6]] * copies) * len(pieces)


def test_files_jsonl_has_a_line_for_every_input_in_order(tmp_path: Path) -> None:
    folder = folder_of_songs(tmp_path / "music", 6)
    (folder / "bad.mid").write_bytes(b"no midi")
    (folder / "zz.mid").write_bytes((folder / "song-03.mid").read_bytes())
    build(folder_source(folder), tmp_path / "set", HALVES)
    made = lines(tmp_path / "set")
    assert [line["name"] for line in made] == [
        "bad.mid", *(f"song-{number:02d}.mid" for number in range(6)), "zz.mid"
    ]  # fmt: skip
    assert [line["outcome"] for line in made] == ["refused", *["kept"] * 6, "refused"]
    assert (made[0]["reason"], made[-1]["reason"]) == ("foreign", "duplicate")
    original = next(line for line in made if line["name"] == "song-03.mid")
    same = {name: original[name] for name in ("bars", "fingerprint")}
    duplicate = {"detail": "the music of song-03.mid", "split": None, "windows": 0, "tokens": 0}
    assert made[-1].items() >= {**same, **duplicate}.items()


def test_the_manifest_counts_what_is_there(made: Path) -> None:
    manifest = read_manifest(made)
    assert manifest["inputs"] == {"total": 31, "kept": 30, "refused": {"duplicate": 1}}
    for split in SPLITS:
        of_split = [line for line in lines(made) if line["split"] == split]
        written = documents(made, split)
        side = manifest["splits"][split]
        assert side["pieces"] == len(of_split)
        assert side["documents"] == len(written) == sum(line["documents"] for line in of_split)
        assert side["tokens"] == sum(map(len, written)) == sum(line["tokens"] for line in of_split)
        assert side["document_tokens"]["max"] == max(map(len, written))


def test_the_unigram_entropy_is_that_of_training_counts_on_each_side(made: Path) -> None:
    train, valid = (np.concatenate(documents(made, split)) for split in SPLITS[:2])
    counts = Counter(train.tolist())
    manifest = read_manifest(made)
    size = manifest["vocabulary_size"]
    nats = [-np.log((counts[token] + 1) / (len(train) + size)) for token in valid.tolist()]
    assert manifest["unigram_nats_per_token"]["valid"] == pytest.approx(np.mean(nats), abs=1e-4)


def test_the_same_music_at_another_pitch_is_dropped_in_any_shard(tmp_path: Path) -> None:
    items = songs(20)
    build(source_of(items), tmp_path / "alone", HALVES)
    trained = [line["split"] for line in lines(tmp_path / "alone")].index("train")
    copies = [Song(f"copy-{shift}", trained, shift=shift) for shift in range(1, 12)]
    build(source_of([*items, *copies]), tmp_path / "set", HALVES)
    made = lines(tmp_path / "set")
    assert [line["reason"] for line in made[20:]] == ["duplicate"] * 11
    assert {line["detail"] for line in made[20:]} == {f"the music of {items[trained].name}"}
    # To the bytes: neither documents nor the densities fitted to them know of the copies.
    for name in ("train.bin", "valid.bin", "test.bin", "tokenizer/mmmtrack.json"):
        assert (tmp_path / "set" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def test_density_is_fitted_on_training_windows_alone(made: Path, tmp_path: Path) -> None:
    records = lines(made)[:30]
    sides = zip(songs(30), records, strict=True)
    trained = [item for item, line in sides if line["split"] == "train"]
    assert 5 < len(trained) < 25
    build(source_of(trained), tmp_path / "train", BuildSettings(split=(1, 0, 0)))
    folders = (made, tmp_path / "train")
    edges = [load_vocabulary(folder / "tokenizer").settings for folder in folders]
    assert edges[0].density_edges == edges[1].density_edges
    assert edges[0].density_edges != BuildSettings().tokenizer().density_edges


def test_like_another_data_set_densities_are_cut_where_its_are(made: Path, tmp_path: Path) -> None:
    same = dataclasses.replace(HALVES, **like(made, {}))
    few = source_of(songs(8))
    first = build(few, tmp_path / "second", same)
    assert not first.up_to_date
    folders = (made, tmp_path / "second")
    edges = [load_vocabulary(folder / "tokenizer").settings for folder in folders]
    assert edges[0].density_edges == edges[1].density_edges
    assert first.manifest["settings"]["density_edges"] == list(edges[0].density_edges)
    assert build(few, tmp_path / "second", same).up_to_date
    with pytest.raises(UsageError, match=r"a data set of density_edges .* \(asked: None\)"):
        build(few, tmp_path / "second", HALVES)


def test_every_document_is_one_whole_window_and_says_how_dense_its_tracks_are(made: Path) -> None:
    vocabulary = load_vocabulary(made / "tokenizer")
    levels: Counter[int] = Counter()
    for tokens in (tokens for split in SPLITS for tokens in documents(made, split)):
        window = decode(tokens, vocabulary)
        assert 1 <= window.bars <= 4
        edges = vocabulary.settings.density_edges
        expected = [sum(edge <= rate for edge in edges) for rate in note_rates(window)]
        found = [t - vocabulary.density for t in tokens.tolist()
                 if vocabulary.density <= t < vocabulary.attribute]  # fmt: skip
        assert found == expected
        levels.update(found)
    assert len(levels) == 10


def test_ten_density_levels_are_alike_in_size() -> None:
    rates = Counter({float(rate): 1 for rate in range(100)})
    assert density_edges(rates) == (10, 20, 30, 40, 50, 60, 70, 80, 90)
    assert density_edges(Counter({1.0: 99, 2.0: 1})) == (1,) * 9


def test_the_ensemble_is_recorded_where_all_pieces_have_the_same(tmp_path: Path) -> None:
    build(source_of([Choir(f"choir-{i}", i) for i in range(12)]), tmp_path / "choirs", HALVES)
    build(source_of([*songs(6), Song("one", 7)]), tmp_path / "songs", HALVES)
    choirs = load_vocabulary(tmp_path / "choirs/tokenizer").settings
    assert choirs.ensemble == ("SOPRANO", "ALTO", "TENOR", "BASS")
    few = dataclasses.replace(HALVES, max_tracks=3)
    build(source_of([Choir(f"choir-{i}", i) for i in range(12)]), tmp_path / "trios", few)
    assert load_vocabulary(tmp_path / "trios/tokenizer").settings.ensemble == ()


@dataclasses.dataclass(frozen=True)
class Duo(Song):
    """A song without drums."""

    def read(self) -> Score:
        return as_score(song(self.seed, drums=False))


@pytest.mark.parametrize("pieces", [False, True])
def test_instruments_are_recorded_with_labels_as_often_as_windows_have_them(
    tmp_path: Path, pieces: bool
) -> None:
    made = [Song(f"band/{seed}", seed) for seed in range(30)]
    duos = [Duo(f"duo/{seed}", seed) for seed in range(30, 40)]
    settings = dataclasses.replace(HALVES, bars=3, transpositions=2, fill=True, pieces=pieces)
    source = labelled(source_of([*made, *duos]), folder_labels())
    build(source, tmp_path / "set", settings)
    told = load_vocabulary(tmp_path / "set/tokenizer").settings
    counts = Counter(told.instrumentations)
    assert set(counts) == {"0 33 DRUMS", "0 33"}
    assert 0.1 < counts["0 33"] / counts.total() < 0.45
    reader = IndexedReader(tmp_path / "set/train")
    if not pieces:
        assert set(told.instrumentation_tokens) <= set(reader.lengths.tolist())
    together = set(zip(told.instrumentations, told.instrumentation_labels, strict=True))
    assert together == {("0 33 DRUMS", "FOLDER=BAND"), ("0 33", "FOLDER=DUO")}


@dataclasses.dataclass(frozen=True)
class LongSong(Song):
    """A song of sixty bars."""

    def read(self) -> Score:
        return as_score(song(self.seed, bars=60))


@pytest.mark.parametrize("pieces", [False, True])
def test_a_label_of_one_piece_has_instruments_beside_those_that_are_drawn(
    tmp_path: Path, pieces: bool
) -> None:
    settings = BuildSettings(bars=1, split=(98, 1, 1), pieces=pieces)
    bands = [LongSong(f"band/{seed}", seed) for seed in range(20)]
    source = labelled(source_of([*bands, Duo("duo/0", 30)]), folder_labels())
    build(source, tmp_path / "set", settings)
    told = load_vocabulary(tmp_path / "set/tokenizer").settings
    labels = told.instrumentation_labels
    drawn, rare = Counter(labels[:256]), Counter(labels[256:])
    assert (drawn.total(), set(rare)) == (256, {"FOLDER=DUO"})
    assert drawn["FOLDER=DUO"] <= 2, "no more than its share where no label is asked for"
    assert drawn["FOLDER=DUO"] + rare["FOLDER=DUO"] >= 4
    assert {row.names for row in candidates(told, ["FOLDER=DUO"])} == {"0 33"}


@pytest.mark.parametrize(("count", "sides"), [(1, 1), (2, 2), (3, 3), (7, 3)])
def test_a_few_pieces_give_each_side_one(tmp_path: Path, count: int, sides: int) -> None:
    settings = BuildSettings(transpositions=3)
    stages: list[str] = []

    def noted(title: str, unit: str) -> AbstractContextManager[Progress]:
        stages.append(title)
        return silent_stage(title, unit)

    manifest = build(source_of(songs(count)), tmp_path / "set", settings, stage=noted).manifest
    assert len(set(stages)) == len(stages), "no step is shown twice"
    pieces = [manifest["splits"][name]["pieces"] for name in SPLITS]
    assert pieces == [count - sides + 1, *([1] * (sides - 1)), *([0] * (3 - sides))]
    assert manifest["settings"]["split"] == [90, 5, 5]
    # Those that are held back are in their own key alone, whichever side chance had put them on.
    for line in lines(tmp_path / "set"):
        assert (line["documents"] == line["windows"]) == (line["split"] != "train")
    verify(tmp_path / "set")


def test_every_document_is_followed_by_itself_with_bars_hidden(tmp_path: Path) -> None:
    everything = BuildSettings(fill=True, transpositions=3, split=(100, 0, 0))
    build(source_of(songs(6)), tmp_path, everything)
    vocabulary = load_vocabulary(tmp_path / "tokenizer")
    assert vocabulary.settings.fill
    reader = IndexedReader(tmp_path / "train")
    assert len(reader) % 2 == 0
    choices = set()
    for index in range(0, len(reader), 2):
        whole, hidden = reader[index], reader[index + 1]
        assert is_hidden(hidden, vocabulary)
        assert not is_hidden(whole, vocabulary)
        assert np.array_equal(restore(hidden, vocabulary)[0], whole)
        choices.add(tuple(np.flatnonzero(hidden == vocabulary.ids["FILL_IN"]).tolist()))
    assert len(choices) > len(reader) // 4
    verify(tmp_path)
