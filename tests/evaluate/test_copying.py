"""Runs of bars that two pieces share are found, whatever the key, and no others."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from megatron_music.data.build import build
from megatron_music.data.indexed import IndexedReader, write_index
from megatron_music.data.settings import BuildSettings
from megatron_music.evaluate.copying import bars_of, check_copies, longest_runs, training_bars
from megatron_music.generate.song import Song
from megatron_music.score.instruments import DRUMS
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.codec import encode
from megatron_music.tokenizer.vocabulary import (
    TokenArray,
    TokenizerSettings,
    Vocabulary,
    load_vocabulary,
)
from tests.data.collection import song as made_up
from tests.data.collection import songs, source_of
from tests.music import track

V = Vocabulary(TokenizerSettings(density=False))

# One bar each: pitches of four quarters.
A, B, C, D = (60, 62, 64, 65), (67, 65, 64, 62), (60, 60, 67, 67), (72, 71, 69, 67)
REST: tuple[int, ...] = ()


def song(*bars: Sequence[int], by: int = 0, instrument: int = 0, length: int = 4) -> TokenArray:
    rows = [
        (16 * bar + 4 * beat, 16 * bar + 4 * beat + length, pitch + by)
        for bar, pitches in enumerate(bars)
        for beat, pitch in enumerate(pitches)
    ]
    return encode(Piece(4, len(bars), (track(instrument, *rows),)), V)


def rows(pitches: Sequence[int], bar: int = 0, by: int = 0) -> list[tuple[int, int, int]]:
    return [(16 * bar + 4 * i, 16 * bar + 4 * i + 4, p + by) for i, p in enumerate(pitches)]


APART = encode(Piece(4, 2, (track(0, *rows(A), *rows(B, 1, 3)),)), V)
DUO = (track(0, *rows(A)), track(32, (0, 16, 36)))
BEAT = song((36, 38, 36, 38), instrument=DRUMS)


@pytest.mark.parametrize(
    ("piece", "corpus", "run"),
    [
        (song(A, B, C), [song(A, B, C)], 3),
        # transposed as a whole, and bar by bar
        *((song(A, B, C), [song(D, A, B, D, by=by)], 2) for by in (-7, 1, 5)),
        (song(A, B), [APART], 1),
        # in another order, and broken off by the end of a document
        (song(A, B, C, D), [song(D, C, B, A)], 1),
        (song(A, B, C), [song(D, A), song(B, C)], 2),
        # lengths and instruments do not matter; all tracks together make a bar, in any order
        (song(A, B), [song(A, B, instrument=40, length=2)], 2),
        (encode(Piece(4, 1, DUO), V), [song(A)], 0),
        (encode(Piece(4, 1, DUO), V), [encode(Piece(4, 1, DUO[::-1]), V)], 1),
        # rests within a run count, and those around it do not
        (song(A, REST, B), [song(A, REST, B)], 3),
        (song(A, REST, REST, B), [song(C, REST, REST, D)], 0),
        # drums are not transposed
        (BEAT, [BEAT], 1),
        (BEAT, [song((37, 39, 37, 39), instrument=DRUMS)], 0),
        (BEAT, [song((36, 38, 36, 38))], 0),
    ],
)
def test_the_longest_run_of_bars_that_is_shared(
    piece: TokenArray, corpus: list[TokenArray], run: int
) -> None:
    assert longest_runs(bars_of([piece], V), bars_of(corpus, V)).tolist() == [run]


@pytest.mark.parametrize(("pieces", "bars", "is_seen_whole"), [(True, 6, True), (False, 4, False)])
def test_a_copy_is_seen_whole_in_pieces_and_up_to_a_window_in_windows(
    tmp_path: Path, pieces: bool, bars: int, is_seen_whole: bool
) -> None:
    settings = BuildSettings(pieces=pieces, split=(1, 0, 0), density=False)
    build(source_of(songs(4)), tmp_path / "set", settings)
    vocabulary = load_vocabulary(tmp_path / "set/tokenizer")
    copied = made_up(2)
    song_of_it = Song(7, copied, tuple(encode(copied, vocabulary).tolist()))
    (copies,) = check_copies([song_of_it], tmp_path / "set", vocabulary)
    assert (copies.found, copies.in_a_track) == (bars, bars)
    assert ("as long as a training window" in str(copies)) is not is_seen_whole


def test_many_pieces_are_looked_up_at_once() -> None:
    corpus = bars_of([song(A, B, C, D), song(D, D, A)], V)
    pieces = [song(C, D, A), song(REST, A), song((1, 1, 1, 2)), song(A, B, C, D, by=2)]
    assert longest_runs(bars_of(pieces, V), corpus).tolist() == [2, 1, 0, 4]


@pytest.mark.parametrize("chunk_tokens", [1, 30, 2_000_000])
def test_training_music_is_read_from_the_data_set_without_hidden_bars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_tokens: int
) -> None:
    monkeypatch.setattr("megatron_music.evaluate.copying.CHUNK_TOKENS", chunk_tokens)
    hidden = song(B, C).copy()
    hidden[1] = V.ids["FILL_IN"]
    stored = [song(A, B), hidden, song(C, D), song(A, C, B)]
    np.concatenate(stored).tofile(tmp_path / "train.bin")
    with (tmp_path / "train.idx").open("wb") as file:
        write_index(file, np.array([len(d) for d in stored], np.int32), np.dtype(np.uint16))
    corpus = training_bars(IndexedReader(tmp_path / "train"), V)
    assert corpus.documents.tolist() == [0, 0, 1, 1, 2, 2, 2]
    whole = bars_of([tokens for tokens in stored if tokens is not hidden], V)
    assert (corpus.shapes == whole.shapes).all()
    pieces = bars_of([song(C, D), song(B, C), song(A, C, B, D)], V)
    assert longest_runs(pieces, corpus).tolist() == [2, 1, 3]
