"""The fingerprint knows music however it is played; orders depend on nothing else."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from megatron_music.score.hashing import fingerprint, scramble, track_order
from megatron_music.score.instruments import DRUMS
from megatron_music.score.notes import Piece, Track
from tests.music import pieces, track


def moved(piece: Piece, semitones: int = 0, bars: int = 0) -> Piece:
    steps = bars * 4 * piece.steps_per_quarter
    tracks = tuple(
        Track(
            t.instrument,
            t.onset + steps,
            t.end + steps,
            t.pitch + (0 if t.instrument == DRUMS else semitones),
        )
        for t in piece.tracks
    )
    return Piece(piece.steps_per_quarter, piece.bars + bars, tracks)


def test_scrambling_is_splitmix64() -> None:
    assert int(scramble(np.zeros(1, np.uint64))[0]) == 0xE220A8397B1DCDAF


@given(pieces(), st.integers(-5, 5), st.integers(0, 3))
def test_key_and_empty_bars_do_not_matter(piece: Piece, semitones: int, bars: int) -> None:
    pitches = [one.pitch for one in piece.tracks if one.instrument != DRUMS]
    assume(all((one + semitones >= 0).all() and (one + semitones < 128).all() for one in pitches))
    assert fingerprint(moved(piece, semitones, bars)) == fingerprint(piece)


def test_instruments_lengths_and_the_dealing_out_to_tracks_do_not_matter() -> None:
    one = Piece(4, 1, (track(0, (0, 4, 60), (4, 8, 64)),))
    two = Piece(4, 1, (track(40, (4, 5, 65)), track(30, (0, 1, 61)), track(7, (0, 9, 61))))
    assert fingerprint(one) == fingerprint(two)


def test_notes_moments_and_drums_do_matter() -> None:
    rows = [
        (track(0, (0, 4, 60), (4, 8, 64)),),
        (track(0, (0, 4, 60), (4, 8, 65)),),
        (track(0, (0, 4, 60), (5, 8, 64)),),
        (track(0, (0, 4, 60)),),
        (track(DRUMS, (0, 4, 60), (4, 8, 64)),),
        (track(DRUMS, (0, 4, 61), (4, 8, 65)),),
        (track(0, (4, 8, 60), (8, 12, 64)),),  # a beat later
        (track(0, (0, 4, 60)), track(DRUMS, (4, 8, 64))),
        (track(0, (0, 4, 60)), track(40, (4, 8, 66))),
    ]
    assert len({fingerprint(Piece(4, 1, tracks)) for tracks in rows}) == len(rows)


def test_a_fingerprint_is_32_digits_the_same_everywhere() -> None:
    assert fingerprint(Piece(4, 1, (track(0, (0, 4, 60)),))) == "e220a8397b1dcdaf2d0f28c7e7e786b2"


@given(st.integers(0, 2**63), st.integers(0, 300), st.integers(0, 40))
def test_an_order_has_every_track_once(seed: int, window: int, count: int) -> None:
    order = track_order(seed, "0123456789abcdef" * 2, window, count)
    assert sorted(order) == list(range(count))
    assert order == track_order(seed, "0123456789abcdef" * 2, window, count)


def test_orders_differ_by_seed_music_and_window_and_all_first_tracks_are_as_likely() -> None:
    music = [f"{i:016x}{0:016x}" for i in range(2_000)]
    orders = [track_order(0, m, 0, 4) for m in music]
    assert orders != [track_order(1, m, 0, 4) for m in music]
    assert orders != [track_order(0, m, 1, 4) for m in music]
    counts = np.bincount([order[0] for order in orders], minlength=4)
    assert counts.min() > 400
