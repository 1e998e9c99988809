"""Of music that changes its metre, the stretches in 4/4 stay."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_music.score.metre import METRES, TimeSignature
from megatron_music.score.notes import Metre, Score, Track
from megatron_music.score.stretches import lay_out_bars

QUARTER = 8
BAR = 4 * QUARTER


def score(notes: list[tuple[int, int]], *metres: tuple[int, int, int]) -> Score:
    """Return a score of one track from onsets and ends in ticks; its pitches count up."""
    onset, end = np.array(notes, np.int64).reshape(-1, 2).T
    track = Track(0, onset, end, np.arange(len(onset), dtype=np.int64))
    return Score(QUARTER, (track,), tuple(Metre(*metre) for metre in metres))


def notes_of(score: Score) -> list[tuple[int, int, int]]:
    [track] = score.tracks
    columns = (track.pitch, track.onset, track.end)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_music_in_common_time_throughout_stays_as_it_is() -> None:
    whole = score([(0, 8), (5, 9)], (0, 4, 4), (7, 4, 4))
    assert lay_out_bars(whole, 4) == (whole, (0,))
    unsigned = score([(0, 8)])
    assert lay_out_bars(unsigned, 4) == (unsigned, (0,))


def test_what_is_in_another_metre_is_left_out_and_the_rest_moves_up() -> None:
    waltz = 3 * QUARTER
    notes = [(0, 8), (2 * BAR, 2 * BAR + 8), (2 * BAR + 2 * waltz + 4, 2 * BAR + 2 * waltz + 8)]
    kept, cuts = lay_out_bars(
        score(notes, (0, 4, 4), (2 * BAR, 3, 4), (2 * BAR + 2 * waltz, 4, 4)), 1
    )
    assert cuts == (0, 2)
    assert notes_of(kept) == [(0, 0, 8), (2, 2 * BAR + 4, 2 * BAR + 8)]
    assert kept.metres == ()


def test_a_stretch_that_breaks_off_in_a_bar_takes_the_whole_of_it() -> None:
    change = BAR + QUARTER
    notes = [(BAR, BAR + 4), (change + 6 * QUARTER, change + 7 * QUARTER)]
    kept, cuts = lay_out_bars(score(notes, (change, 6, 4), (change + 6 * QUARTER, 4, 4)), 1)
    assert cuts == (0, 2)
    assert notes_of(kept) == [(0, BAR, BAR + 4), (1, 2 * BAR, 2 * BAR + QUARTER)]


def test_a_note_ends_with_its_stretch() -> None:
    kept, _ = lay_out_bars(score([(BAR - 8, BAR + 8)], (BAR, 3, 4)), 1)
    assert notes_of(kept) == [(0, BAR - 8, BAR)]


def test_a_note_just_before_the_change_belongs_to_the_next_metre() -> None:
    kept, _ = lay_out_bars(score([(BAR - 2, BAR + 8), (BAR - 1, BAR + 8)], (BAR, 3, 4)), 1)
    assert notes_of(kept) == [(0, BAR - 2, BAR)]


def test_short_stretches_are_left_out() -> None:
    metres = (0, 4, 4), (2 * BAR, 3, 4), (5 * BAR, 4, 4)
    notes = [(0, 4), (5 * BAR, 5 * BAR + 4), (8 * BAR, 8 * BAR + 4)]
    kept, cuts = lay_out_bars(score(notes, *metres), 3)
    assert cuts == (0,)
    assert notes_of(kept) == [(1, 0, 4), (2, 3 * BAR, 3 * BAR + 4)]


@pytest.mark.parametrize("metres", [[(0, 3, 4)], [(0, 4, 4), (0, 6, 8)], [(0, 0, 4)]])
def test_nothing_is_left_of_music_in_another_metre(metres: list[tuple[int, int, int]]) -> None:
    kept, cuts = lay_out_bars(score([(0, 8), (BAR, 2 * BAR)], *metres), 1)
    assert (kept.tracks, cuts) == ((), ())


@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 40)), min_size=1, max_size=20),
    st.lists(st.tuples(st.integers(0, 200), st.sampled_from([(4, 4), (3, 4), (7, 8)])), max_size=6),
    st.integers(1, 3),
)
def test_every_note_that_is_kept_keeps_its_place_in_a_bar(
    notes: list[tuple[int, int]], changes: list[tuple[int, tuple[int, int]]], shortest: int
) -> None:
    metres = [(tick, *metre) for tick, metre in sorted(changes, key=lambda change: change[0])]
    whole = score([(onset, onset + length) for onset, length in sorted(notes)], *metres)
    kept, cuts = lay_out_bars(whole, shortest)
    assert cuts == tuple(sorted(set(cuts)))
    onsets = dict(enumerate(whole.tracks[0].onset.tolist()))
    starts = [0, *(tick for tick, *metre in metres if metre == [4, 4])]
    for pitch, onset, end in notes_of(kept) if kept.tracks else []:
        assert any((onsets[pitch] - start - onset) % BAR == 0 for start in starts)
        assert onset <= end


def test_in_any_metre_each_bar_has_its_own_length() -> None:
    waltz = 3 * QUARTER
    notes = [(0, 8), (2 * BAR + 8, 2 * BAR + 12), (2 * BAR + 2 * waltz, 2 * BAR + 2 * waltz + 4)]
    changes = (0, 4, 4), (2 * BAR, 3, 4), (2 * BAR + 2 * waltz, 6, 8)
    kept, cuts = lay_out_bars(score(notes, *changes), 8, METRES)
    assert list(map(str, kept.bars)) == ["4/4", "4/4", "3/4", "3/4", "6/8"]
    assert cuts == (0,)
    assert [onset for _, onset, _ in notes_of(kept)] == [onset for onset, _ in notes]


def test_a_bar_that_breaks_off_is_one_of_a_shorter_metre() -> None:
    pick_up = score([(0, 8), (8, 16), (32, 40)], (0, 3, 4), (8, 4, 4))
    kept, cuts = lay_out_bars(pick_up, 4, METRES)
    assert list(map(str, kept.bars)) == ["1/4", "4/4"]
    assert cuts == (0,)
    assert notes_of(kept) == [(0, 0, 8), (1, 8, 16), (2, 32, 40)]


def test_a_bar_of_no_metre_is_filled_up_by_a_rest_and_no_window_reaches_over() -> None:
    bar = 8 * QUARTER
    odd = 31 * QUARTER // 4
    kept, cuts = lay_out_bars(score([(0, 8), (odd, odd + 8)], (0, 4, 2), (odd, 3, 4)), 4, METRES)
    assert list(map(str, kept.bars)) == ["4/2", "3/4"]
    assert cuts == (0, 1)
    assert notes_of(kept) == [(0, 0, 8), (1, bar, bar + 8)]


def test_metres_that_there_are_no_bars_of_are_left_out() -> None:
    notes = [(0, 4), (BAR, BAR + 4), (4 * BAR, 4 * BAR + 4)]
    changes = (0, 3, 4), (3 * QUARTER, 17, 16), (4 * BAR, 6, 8)
    kept, cuts = lay_out_bars(score(notes, *changes), 1, METRES)
    assert list(map(str, kept.bars)) == ["3/4", "6/8"]
    assert cuts == (0, 1)
    assert notes_of(kept) == [(0, 0, 4), (2, 24, 28)]


def test_music_without_a_signature_is_in_common_time() -> None:
    kept, _ = lay_out_bars(score([(0, 8)]), 1, (TimeSignature(3, 4),))
    assert kept.tracks == ()
