"""Bars are where a file's time signatures put them, and those in 4/4 are bars of the grid."""

import numpy as np
import pytest

from megatron_music.score.barlines import bar_starts, barlines, common_barlines
from megatron_music.score.notes import Metre, Score
from megatron_music.score.quantize import quantize
from tests.music import track

QUARTER = 96
BAR = 4 * QUARTER


def score(*metres: Metre, end: int) -> Score:
    """Make a score of a note a quarter up to a tick."""
    rows = [(tick, tick + QUARTER, 60) for tick in range(0, end, QUARTER)]
    return Score(QUARTER, (track(0, *rows),), metres)


def test_bars_of_common_time_are_the_grid_itself() -> None:
    music = score(end=3 * BAR)
    bars = barlines(music)
    assert (bars.bars, bars.to_grid(2), bars.to_file(2)) == (3, 2, 2)
    assert quantize(bars.laid_out(music), 4) == quantize(music, 4)
    ticks = np.array([0, 5, BAR, 7 * BAR])
    assert np.array_equal(bars.ticks(ticks), ticks)


def test_an_upbeat_is_at_the_end_of_its_bar() -> None:
    music = score(Metre(0, 1, 4), Metre(QUARTER, 4, 4), end=QUARTER + 2 * BAR)
    bars = barlines(music)
    assert bars.bars == 3
    assert [bars.is_whole(bar) for bar in range(3)] == [False, True, True]
    laid = bars.laid_out(music).tracks[0]
    assert laid.onset[:3].tolist() == [3 * QUARTER, BAR, BAR + QUARTER]
    assert bars.ticks(laid.onset).tolist() == music.tracks[0].onset.tolist()
    assert bars.ticks(laid.end, 1).tolist() == music.tracks[0].end.tolist()


def test_bars_of_other_lengths_keep_those_in_common_time_on_the_grid() -> None:
    music = score(Metre(BAR, 3, 4), Metre(BAR + 6 * QUARTER, 4, 4), end=3 * BAR + 6 * QUARTER)
    bars = barlines(music)
    assert [bars.metre(bar) for bar in range(bars.bars)] == ["4/4", "3/4", "3/4", "4/4", "4/4"]
    laid = bars.laid_out(music).tracks[0]
    assert (BAR * 3) in laid.onset.tolist()
    assert bars.ticks(laid.onset).tolist() == music.tracks[0].onset.tolist()
    long = barlines(score(Metre(0, 6, 4), end=12 * QUARTER))
    assert (long.bars, long.to_grid(1), long.to_file(1), long.to_file(2)) == (2, 2, 0, 1)


@pytest.mark.parametrize("metre", [Metre(0, 2, 2), Metre(0, 8, 8)])
def test_metres_as_long_as_common_time_are_bars_of_the_grid(metre: Metre) -> None:
    bars = barlines(score(metre, end=2 * BAR))
    assert bars.bars == 2
    assert all(map(bars.is_whole, range(2)))


def test_signatures_can_be_left_out_of_account() -> None:
    bars = common_barlines(score(Metre(0, 3, 4), end=12 * QUARTER))
    assert bars.bars == 3
    assert all(map(bars.is_whole, range(4)))


@pytest.mark.parametrize("damage", [Metre(BAR, 0, 4), Metre(BAR, 1, 1 << 20)])
def test_signatures_of_no_length_leave_the_bars_as_they_were(damage: Metre) -> None:
    starts, metres = bar_starts((Metre(0, 3, 4), damage), BAR + 100, QUARTER)
    assert starts == [0, 3 * QUARTER, 6 * QUARTER]
    assert metres == [(3, 4)] * 2
