"""Merged tracks keep all notes; notes snap to the nearest step; windows of bars lose nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_music.errors import MidiError
from megatron_music.score.instruments import BASS, DRUMS
from megatron_music.score.notes import Piece, Score
from megatron_music.score.quantize import join, merge, placed_windows, quantize, windows
from tests.music import pieces, scores, steps_per_quarter, track


@pytest.mark.parametrize(
    ("notes", "expected"),
    [
        ([(59, 300, 60), (60, 420, 61)], [(0, 3, 60), (1, 4, 61)]),  # halves go up
        ([(0, 1, 60), (480, 480, 60)], [(0, 1, 60), (4, 5, 60)]),  # a step at least
        ([(0, 240, 60), (0, 960, 60)], [(0, 8, 60)]),  # at one onset and pitch the longest stays
        ([(0, 960, 60), (480, 960, 60)], [(0, 4, 60), (4, 8, 60)]),  # ends where the next begins
    ],
)
def test_notes_snap_to_steps(
    notes: list[tuple[int, int, int]], expected: list[tuple[int, int, int]]
) -> None:
    [only] = quantize(Score(480, (track(0, *notes),)), 4).tracks
    found = zip(only.onset.tolist(), only.end.tolist(), only.pitch.tolist(), strict=True)
    assert list(found) == expected


def test_a_score_without_notes_is_refused() -> None:
    with pytest.raises(MidiError, match="no notes"):
        quantize(Score(480, ()), 4)


@given(scores(), steps_per_quarter)
def test_quantizing_is_canonical_and_done_once(score: Score, steps: int) -> None:
    piece = quantize(score, steps)
    assert quantize(Score(steps, piece.tracks), steps) == piece
    for t in piece.tracks:
        assert (t.end > t.onset).all()
        assert t.end.max() <= piece.steps
        order = np.lexsort((t.pitch, t.onset))
        assert (order == np.arange(len(t))).all()
        for pitch in np.unique(t.pitch):
            mine = t.pitch == pitch
            assert (t.onset[mine][1:] >= t.end[mine][:-1]).all()


@given(scores(), steps_per_quarter)
def test_no_onset_moves_by_more_than_half_a_step(score: Score, steps: int) -> None:
    piece = quantize(score, steps)
    for before, after in zip(score.tracks, piece.tracks, strict=True):
        exact = np.unique(before.onset * steps / score.ticks_per_quarter)
        nearest = np.abs(exact[:, None] - after.onset[None, :]).min(axis=1)
        assert nearest.max() <= 0.5


@pytest.mark.parametrize(
    ("bars", "hop", "expected"),
    [(4, 4, [4, 4, 1]), (4, 2, [4, 4, 4, 3]), (8, 4, [8, 5]), (9, 4, [9]), (16, 16, [9])],
)
def test_the_last_window_is_never_lost(bars: int, hop: int, expected: list[int]) -> None:
    whole = Piece(4, 9, (track(0, *[(step, step + 1, 60) for step in range(9 * 16)]),))
    cut = windows(whole, bars, hop)
    assert [window.bars for window in cut] == expected
    assert cut[-1].tracks[0].end.max() == expected[-1] * 16


def test_a_window_knows_its_first_bar_across_silence_and_cuts() -> None:
    whole = Piece(4, 9, (track(0, (0, 1, 60), (8 * 16, 8 * 16 + 1, 60)),))
    assert [first for first, _ in placed_windows(whole, 2, 2)] == [0, 8]
    assert [first for first, _ in placed_windows(whole, 4, 4, (0, 7))] == [0, 7]


def test_a_window_drops_silent_tracks_and_ends_its_notes() -> None:
    piece = Piece(4, 2, (track(0, (8, 24, 60)), track(BASS, (16, 20, 40))))
    first, second = windows(piece, 1, 1)
    assert first.tracks == (track(0, (8, 16, 60)),)
    assert second.tracks == (track(BASS, (0, 4, 40)),)


def test_cutting_leaves_the_piece_as_it_was() -> None:
    piece = Piece(4, 2, (track(0, (8, 24, 60)),))
    windows(piece, 1, 1)[0].tracks[0].end[0] = 99
    assert piece == Piece(4, 2, (track(0, (8, 24, 60)),))


@given(pieces(), st.sampled_from([1, 2, 4, 8, 16]))
def test_windows_end_to_end_hold_every_onset(piece: Piece, bars: int) -> None:
    whole = sum(len(t) for t in piece.tracks)
    cut = windows(piece, bars, bars)
    assert sum(len(t) for window in cut for t in window.tracks) == whole


@given(pieces())
def test_joining_one_piece_gives_it_back(piece: Piece) -> None:
    assert join([piece]) == piece


def test_joining_lays_pieces_end_to_end() -> None:
    first = Piece(4, 1, (track(0, (0, 16, 60)), track(0, (0, 4, 72))))
    second = Piece(4, 1, (track(0, (0, 4, 60)),))
    expected = (track(0, (0, 16, 60), (16, 20, 60)), track(0, (0, 4, 72)))
    assert join([first, second]) == Piece(4, 2, expected)


def test_the_hands_of_a_piano_become_one_track_where_the_first_stood() -> None:
    hands = (track(0, (0, 4, 60)), track(33, (0, 4, 40)), track(0, (2, 4, 48)))
    assert merge(Score(4, hands)).tracks == (track(0, (0, 4, 60), (2, 4, 48)), hands[1])


def test_a_note_of_both_tracks_comes_once() -> None:
    double = Score(4, (track(DRUMS, (0, 1, 36)), track(DRUMS, (0, 2, 36), (4, 5, 38))))
    assert quantize(merge(double), 4).tracks == (track(DRUMS, (0, 2, 36), (4, 5, 38)),)


@given(scores())
def test_no_note_is_lost(score: Score) -> None:
    merged = merge(score)
    codes = [t.instrument for t in merged.tracks]
    assert codes == list(dict.fromkeys(t.instrument for t in score.tracks))
    assert sum(map(len, merged.tracks)) == sum(map(len, score.tracks))
    assert merge(merged).tracks == merged.tracks
