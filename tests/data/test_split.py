"""The same music is known at any pitch; drums are compared as they are."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from megatron_music.data.settings import SPLITS
from megatron_music.data.split import last_training_word, split_of, weights_for_few
from megatron_music.score.hashing import WORD, fingerprint
from megatron_music.score.instruments import DRUMS
from megatron_music.score.notes import Piece, Track
from tests.data.collection import song
from tests.music import pieces, track


def moved(track: Track, steps: int = 0, semitones: int = 0) -> Track:
    return Track(track.instrument, track.onset + steps, track.end + steps, track.pitch + semitones)


@given(pieces(), st.integers(-12, 12))
def test_transposition_leaves_the_fingerprint(piece: Piece, semitones: int) -> None:
    melodic = [track.pitch.max() for track in piece.tracks if track.instrument != DRUMS]
    semitones = min(semitones, 127 - max(melodic, default=0))
    tracks = [
        track if track.instrument == DRUMS else moved(track, semitones=semitones)
        for track in piece.tracks
    ]
    assert fingerprint(replace(piece, tracks=tuple(tracks))) == fingerprint(piece)


@given(pieces())
def test_another_rhythm_is_another_fingerprint(piece: Piece) -> None:
    first = piece.tracks[0]
    later = np.array([*first.onset[:-1], piece.steps])
    other = Track(first.instrument, later, later + 1, first.pitch)
    tracks = (other, *piece.tracks[1:])
    # A lone note that moves by whole bars is the same music after more empty bars.
    assume(sum(map(len, piece.tracks)) > 1)
    assert fingerprint(replace(piece, tracks=tracks)) != fingerprint(piece)


def of_other_tracks(change: Callable[[Track], Track]) -> Piece:
    return replace(SONG, tracks=tuple(map(change, SONG.tracks)))


def with_first_track_in_halves() -> Piece:
    first, halves = SONG.tracks[0], (slice(0, None, 2), slice(1, None, 2))
    split = [Track(7, first.onset[h], first.end[h], first.pitch[h]) for h in halves]
    return replace(SONG, tracks=(*SONG.tracks[:0:-1], *split))


SONG = song(1)
STEPS = SONG.steps_per_quarter
FIRST = SONG.tracks[0]


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        (of_other_tracks(lambda t: moved(t, semitones=t.instrument == DRUMS)), False),
        (of_other_tracks(lambda t: moved(t, semitones=t is FIRST)), False),
        (with_first_track_in_halves(), True),
        # Empty bars before the music do not matter, but beats do.
        (of_other_tracks(lambda t: moved(t, steps=8 * STEPS)), True),
        (of_other_tracks(lambda t: moved(t, steps=4)), False),
    ],
)
def test_the_same_music_is_known_and_other_music_is_other(other: Piece, is_same: bool) -> None:
    other = replace(other, bars=SONG.bars + 2)
    assert (fingerprint(other) == fingerprint(SONG)) is is_same


def test_a_drum_is_not_a_note_of_the_same_pitch() -> None:
    notes = track(0, (0, 1, 60), (4, 5, 96))
    with_drum = (track(0, (0, 1, 60)), track(DRUMS, (4, 5, 36)))
    assert fingerprint(Piece(4, 1, (notes,))) != fingerprint(Piece(4, 1, with_drum))


def test_the_sides_get_about_their_shares() -> None:
    count = 4000
    random = np.random.default_rng(0)
    prints = [random.bytes(32).hex() for _ in range(count)]
    splits = Counter(split_of(music, (80, 15, 5)) for music in prints)
    assert splits["train"] / count == pytest.approx(0.80, abs=0.02)
    assert splits["valid"] / count == pytest.approx(0.15, abs=0.02)
    assert splits["test"] / count == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize(
    ("music", "split"),
    [("0" * 64, "train"), ("e" * 64, "valid"), ("f" * 64, "test"), ("8" * 64, "train")],
)
def test_the_side_is_decided_by_the_fingerprint_alone(music: str, split: str) -> None:
    assert split_of(music, (90, 5, 5)) == split
    assert split_of(music, (100, 0, 0)) == "train", "a side of weight zero gets nothing"


WORDS = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=40, unique=True)
WEIGHTS = st.tuples(st.integers(1, 99), st.integers(0, 99), st.integers(0, 99))


@given(WORDS, WEIGHTS)
def test_few_pieces_are_dealt_out_so_that_each_side_has_one(
    words: list[int], weights: tuple[int, ...]
) -> None:
    dealt = weights_for_few(words, weights)
    splits = Counter(split_of(f"{word:016x}" + "0" * 16, dealt) for word in words)
    asked = [name for name, weight in zip(SPLITS, weights, strict=True) if weight]
    assert set(splits) == set(asked[: len(words)])
    for name, weight in zip(SPLITS[1:], weights[1:], strict=True):
        assert splits[name] <= max(1, len(words) * weight / sum(weights))


def test_few_pieces_are_dealt_out_by_their_weights() -> None:
    words = [number << 57 for number in range(1, 101)]
    dealt = weights_for_few(words, (90, 5, 5))
    assert Counter(split_of(f"{word:032x}"[16:] + "0" * 16, dealt) for word in words) == {
        "train": 90,
        "valid": 5,
        "test": 5,
    }


def test_the_share_of_training_is_its_weight() -> None:
    assert last_training_word((1, 0, 0)) == WORD
    assert last_training_word((1, 1)) == WORD >> 1
    for weights in ((90, 5, 5), (1, 2), (7, 3, 11)):
        last = last_training_word(weights)
        assert split_of(f"{last:016x}", weights) == "train"
        assert split_of(f"{last + 1:016x}", weights) == "valid"
