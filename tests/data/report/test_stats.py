"""Statistics count what is there; each figure is worked out again from the documents."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from megatron_music.data.build import build
from megatron_music.data.counts import Contents, count_bars
from megatron_music.data.indexed import IndexedReader
from megatron_music.data.records import FileRecord, line
from megatron_music.data.report import stats
from megatron_music.data.report.plots import pictures
from megatron_music.data.report.stats import as_json, statistics
from megatron_music.data.settings import SPLITS, BuildSettings
from megatron_music.errors import DataError
from megatron_music.score.instruments import DRUMS
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.codec import decode
from megatron_music.tokenizer.vocabulary import Vocabulary, load_vocabulary
from tests.data.collection import songs, source_of


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stats") / "set"
    settings = BuildSettings(split=(60, 20, 20), transpositions=2)
    build(source_of(songs(12)), folder, settings)
    return folder


def pieces_of(folder: Path, *splits: str) -> list[Piece]:
    vocabulary = load_vocabulary(folder / "tokenizer")
    readers = [IndexedReader(folder / split) for split in splits]
    return [decode(reader[i], vocabulary) for reader in readers for i in range(len(reader))]


def counted(counts: np.ndarray) -> dict[int, int]:
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def test_tracks_and_notes_are_those_of_the_documents(made: Path) -> None:
    contents = statistics(made).contents
    pieces = pieces_of(made, *SPLITS)
    tracks = [track for piece in pieces for track in piece.tracks]
    assert contents.instruments == Counter(track.instrument for track in tracks)
    pitches = Counter(pitch for track in tracks for pitch in track.pitch.tolist())
    assert counted(contents.pitches) == pitches
    assert contents.densities.sum() == len(tracks)
    assert contents.document_tokens.sum() == len(pieces)


def test_lengths_of_notes_and_numbers_of_tracks_are_those_of_the_documents(made: Path) -> None:
    shown = statistics(made)
    pieces = pieces_of(made, "train")
    melodic = [t for piece in pieces for t in piece.tracks if t.instrument != DRUMS]
    steps = Counter(step for track in melodic for step in (track.end - track.onset).tolist())
    assert counted(shown.note_steps) == steps
    assert counted(shown.tracks) == Counter(len(piece.tracks) for piece in pieces)
    assert shown.sampled_documents == len(pieces)


def test_a_sample_is_spread_over_the_documents(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = statistics(made)
    monkeypatch.setattr(stats, "PORTION_TOKENS", 500)
    assert as_json(statistics(made)) == as_json(whole)
    monkeypatch.setattr(
        stats, "SAMPLE_TOKENS", int(whole.manifest["splits"]["train"]["tokens"]) // 3
    )
    part = statistics(made)
    assert 0.2 < part.sampled_documents / whole.sampled_documents < 0.5
    assert part.contents.token_counts.tolist() == whole.contents.token_counts.tolist()


def test_contexts_hold_documents_up_to_their_own_length() -> None:
    lengths = np.bincount([100, 512, 513, 2048, 5000])
    contents = Contents(Vocabulary(BuildSettings().tokenizer()), lengths, lengths, lengths)
    assert contents.fitting() == {512: 0.4, 1024: 0.6, 2048: 0.8, 4096: 0.8}


def test_bars_of_kept_pieces_are_counted_for_odd_names(tmp_path: Path) -> None:
    trap = 'a", "outcome": "kept", "bars": 99, '
    outcomes = [
        FileRecord("one", "kept", split="train", bars=7),
        FileRecord(trap, "refused", "metre", trap, bars=5),
        FileRecord(trap, "kept", split="valid", bars=7),
        FileRecord("three", "kept", split="test", bars=300),
    ]
    (tmp_path / "files.jsonl").write_bytes(b"".join(map(line, outcomes)))
    assert counted(count_bars(tmp_path / "files.jsonl")) == {7: 2, 300: 1}


def test_statistics_are_json_and_pictures(made: Path) -> None:
    shown = statistics(made)
    values = json.loads(json.dumps(as_json(shown)))
    assert sum(values["document_tokens"].values()) == values["documents"]
    assert sum(values["piece_bars"].values()) == values["inputs"]["kept"]
    drawn = pictures(shown)
    assert set(drawn) == {
        "document-lengths", "instruments", "pitches", "note-lengths", "tracks", "densities",
    }  # fmt: skip
    assert all(png.startswith(b"\x89PNG") for png in drawn.values())


def test_a_data_set_without_densities_has_no_picture_of_them(tmp_path: Path) -> None:
    build(source_of(songs(4)), tmp_path / "set", BuildSettings(density=False, split=(1, 0, 0)))
    assert "densities" not in pictures(statistics(tmp_path / "set"))


def test_a_token_outside_the_vocabulary_is_an_error(tmp_path: Path) -> None:
    build(source_of(songs(2)), tmp_path / "set", BuildSettings(split=(1, 0, 0)))
    tokens = np.fromfile(tmp_path / "set/train.bin", np.uint16)
    tokens[3] = 60_000
    tokens.tofile(tmp_path / "set/train.bin")
    with pytest.raises(DataError, match="a token 60000 in a vocabulary of"):
        statistics(tmp_path / "set")


def test_values_of_velocity_and_tempo_are_counted(tmp_path: Path) -> None:
    settings = BuildSettings(metres=("3/4", "4/4"), velocity=8, tempo=True, split=(1, 0, 0))
    build(source_of(songs(4)), tmp_path / "set", settings)
    shown = statistics(tmp_path / "set")
    told = as_json(shown)["values"]
    pieces = pieces_of(tmp_path / "set", "train")
    assert told["METRE"] == {"4/4": len(pieces), "3/4": 0}
    assert told["TEMPO"]["120"] == len(pieces)
    assert sum(told["VELOCITY"].values()) >= sum(len(piece.tracks) for piece in pieces)
