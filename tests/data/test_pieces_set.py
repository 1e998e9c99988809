"""A data set of whole pieces holds the music of the windows that a build would cut, once."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from megatron_music.data.build import build
from megatron_music.data.dataset_windows import WindowReader
from megatron_music.data.indexed import IndexedReader
from megatron_music.data.records import left_out
from megatron_music.data.report.stats import statistics
from megatron_music.data.report.verify import verify
from megatron_music.data.settings import SPLITS, BuildSettings
from megatron_music.data.sources.open import open_source
from megatron_music.score.instruments import DRUMS
from megatron_music.score.midi_writer import write_midi
from megatron_music.score.quantize import windows
from megatron_music.tokenizer.codec import decode
from megatron_music.tokenizer.places_in_piece import load_places
from megatron_music.tokenizer.vocabulary import load_vocabulary
from tests.data.collection import Song, song, songs, source_of, waltz

WINDOWS = BuildSettings(bars=4, split=(50, 25, 25), shuffle=False)
PIECES = dataclasses.replace(WINDOWS, pieces=True)
MANY = [*songs(20), Song("again", 3, shift=4)]


def documents(folder: Path, side: str) -> list[list[int]]:
    return [document.tolist() for document in IndexedReader(folder / side)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the data sets `pieces` and `windows` of the same music."""
    folder = tmp_path_factory.mktemp("sets")
    build(source_of(MANY), folder / "pieces", PIECES)
    build(source_of(MANY), folder / "windows", WINDOWS)
    return folder


def test_every_document_is_a_whole_piece(made: Path) -> None:
    vocabulary = load_vocabulary(made / "pieces/tokenizer")
    lines = [json.loads(line) for line in (made / "pieces/files.jsonl").open()]
    for side in SPLITS:
        pieces = [decode(np.array(one), vocabulary) for one in documents(made / "pieces", side)]
        names = [line["name"] for line in lines if line["split"] == side]
        assert len(pieces) == len(names)
        for piece, name in zip(pieces, names, strict=True):
            assert piece == song(int(name.removeprefix("song-")))
        places = load_places(made / "pieces" / side, len(pieces))
        assert places is not None
        assert places.tolist() == [[0, 6]] * len(pieces)


def test_it_is_sound_counted_and_says_what_it_is(made: Path) -> None:
    assert verify(made / "pieces").documents == 20
    manifest = json.loads((made / "pieces/manifest.json").read_text())
    assert manifest["settings"]["pieces"] is True
    stored = json.loads((made / "windows/manifest.json").read_text())
    assert "pieces" not in stored["settings"]
    assert "windows" not in stored
    drawn, of_stored = manifest["windows"], stored["splits"]["train"]
    counts = ("documents", "tokens", "longer_than", "document_tokens")
    assert [drawn[name] for name in counts] == [of_stored[name] for name in counts]
    assert statistics(made / "pieces").contents.piece_bars[6] == 20
    assert [one["reason"] for one in left_out(made / "pieces")] == ["duplicate"]
    assert "that are whole pieces" in (made / "pieces/README.md").read_text()


def test_its_windows_are_those_of_a_build_with_densities_cut_alike(made: Path) -> None:
    vocabulary = load_vocabulary(made / "windows/tokenizer")
    assert load_vocabulary(made / "pieces/tokenizer").settings == vocabulary.settings
    for side in SPLITS[1:]:
        reader = WindowReader(made / "pieces", side, vocabulary)
        assert [tokens.tolist() for tokens in reader] == documents(made / "windows", side)
        assert reader.places.tolist() == np.load(made / f"windows/{side}.places.npy").tolist()
        assert reader.owners.tolist() == np.repeat(np.arange(len(reader) // 2), 2).tolist()


def test_windows_for_training_are_drawn_in_all_keys_until_there_are_enough(tmp_path: Path) -> None:
    build(source_of(songs(8)), tmp_path / "set", dataclasses.replace(PIECES, transpositions=3))
    vocabulary = load_vocabulary(tmp_path / "set/tokenizer")
    whole = [decode(np.array(one), vocabulary) for one in documents(tmp_path / "set", "train")]
    once, all_keys = (
        WindowReader(tmp_path / "set", "train", vocabulary, at_least=least) for least in (1, 1000)
    )
    assert (once.keys, WindowReader(tmp_path / "set", "valid", vocabulary).keys) == (3, 1)
    assert set(once.owners.tolist()) == set(range(len(whole)))
    assert len(once) < len(all_keys) <= 4 * len(once), "an epoch for each key"
    moved = set()
    for i, tokens in enumerate(all_keys):
        piece, (first, bars) = decode(tokens, vocabulary), all_keys.places[i].tolist()
        assert bars == 6
        stretch = windows(whole[all_keys.owners[i]], piece.bars, 1)[first]
        shift = int(piece.tracks[0].pitch[0] - stretch.tracks[0].pitch[0])
        moved.add(shift)
        for ours, theirs in zip(piece.tracks, stretch.tracks, strict=True):
            drum = ours.instrument == DRUMS
            assert (ours.pitch - theirs.pitch).tolist() == [0 if drum else shift] * len(ours.pitch)
    assert moved == {-1, 0, 1}


def test_windows_of_windows_are_the_documents(made: Path) -> None:
    vocabulary = load_vocabulary(made / "windows/tokenizer")
    reader = WindowReader(made / "windows", "train", vocabulary)
    assert [tokens.tolist() for tokens in reader] == documents(made / "windows", "train")


def test_a_long_piece_is_one_document_and_labels_stand_at_its_head(tmp_path: Path) -> None:
    from megatron_music.data.sources.labels import folder_labels
    from megatron_music.data.sources.open import labelled

    for seed, place in enumerate(("a", "b", "a", "b", "a", "b")):
        (tmp_path / "music" / place).mkdir(parents=True, exist_ok=True)
        write_midi(song(seed, bars=300), tmp_path / "music" / place / f"{seed}.mid")
    waltz(tmp_path / "music/a/waltz.mid")
    source = labelled(open_source(str(tmp_path / "music")), folder_labels("PLACE"))
    build(source, tmp_path / "set", PIECES)
    vocabulary = load_vocabulary(tmp_path / "set/tokenizer")
    for side in SPLITS:
        for one in WindowReader(tmp_path / "set", side, vocabulary):
            assert vocabulary.tokens[one[1]] in ("PLACE=A", "PLACE=B")
        for document in documents(tmp_path / "set", side):
            assert decode(np.array(document), vocabulary).bars == 300
    (refused,) = left_out(tmp_path / "set")
    assert refused["reason"] == "metre"
    assert verify(tmp_path / "set").documents == 6
