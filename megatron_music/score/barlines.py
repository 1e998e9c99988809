"""Where the bars of a file are, by its own time signatures, and where they are on the model's grid.

The grid has bars of four quarter notes. A file's bar of that length is one of them; a shorter one
is laid into one, a longer one into several, the rest of them left silent. So bars in 4/4 stand on
the grid as they were learnt, whatever stands before them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from megatron_music.score.notes import QUARTERS_PER_BAR, IntArray, Metre, Score, Track


@dataclass(frozen=True)
class Barlines:
    """The bars of a file in ticks, and the bars of the grid that they are laid into.

    `starts` has the tick at which each bar of the file begins, and behind them that of its end;
    `grid` in the same way the bars of the grid, counted from 0, `late` by how many ticks the bar
    begins after the bar of the grid: a first bar that is short is an upbeat. After the end bars go
    on as the last.
    """

    ticks_per_quarter: int
    starts: IntArray
    grid: IntArray
    late: IntArray
    metres: tuple[tuple[int, int], ...]

    @property
    def bars(self) -> int:
        """How many bars the file has."""
        return len(self.starts) - 1

    @property
    def bar_ticks(self) -> int:
        """The length of a bar of the grid."""
        return QUARTERS_PER_BAR * self.ticks_per_quarter

    def is_whole(self, bar: int) -> bool:
        """Tell whether a bar of the file, from 0, is one of the grid; true behind the last."""
        place = min(bar, self.bars - 1)
        return bool(self.starts[place + 1] - self.starts[place] == self.bar_ticks)

    def metre(self, bar: int) -> str:
        """Return the time signature of a bar of the file, from 0."""
        return "{}/{}".format(*self.metres[min(bar, self.bars - 1)])

    def to_grid(self, bars: int) -> int:
        """Return how many bars of the grid the first `bars` bars of the file take."""
        return int(self.grid[min(bars, self.bars)]) + max(0, bars - self.bars)

    def to_file(self, grid_bar: int) -> int:
        """Return the bar of the file that is laid into a bar of the grid, both from 0."""
        inside = int(np.searchsorted(self.grid[1:], grid_bar, side="right"))
        return inside if inside < self.bars else self.bars + grid_bar - int(self.grid[-1])

    def laid_out(self, score: Score) -> Score:
        """Return the music as the grid has it: in bars of 4/4, its notes moved with their bars."""
        tracks = (
            Track(
                track.instrument, self._moved(track.onset), self._moved(track.end, 1), track.pitch
            )
            for track in score.tracks
        )
        return replace(score, tracks=tuple(tracks), metres=())

    def _moved(self, ticks: IntArray, before: int = 0) -> IntArray:
        """Return places on the grid; with `before`, of what ends there."""
        bar = np.searchsorted(self.starts[1:-1], ticks - before, side="right")
        moved: IntArray = (
            ticks - self.starts[bar] + self.grid[bar] * self.bar_ticks + self.late[bar]
        )
        return moved

    def ticks(self, grid_ticks: IntArray, before: int = 0) -> IntArray:
        """Return where places on the grid are in the file; with `before`, of what ends there."""
        edges = self.grid[1:-1] * self.bar_ticks
        bar = np.searchsorted(edges, grid_ticks - before, side="right")
        inside = grid_ticks - self.grid[bar] * self.bar_ticks - self.late[bar]
        placed: IntArray = self.starts[bar] + np.maximum(inside, 0)
        return placed


def barlines(score: Score) -> Barlines:
    """Return the bars of a score, to its last note, by its time signatures."""
    quarter = score.ticks_per_quarter
    end = max(int(track.end.max()) for track in score.tracks)
    starts = [0]
    metres: list[tuple[int, int]] = []
    for first, last, metre in _stretches(score.metres, end):
        bar_ticks = max(1, 4 * quarter * metre[0] // metre[1])
        starts += range(first + bar_ticks, last, bar_ticks)
        starts.append(last if last < end else starts[-1] + bar_ticks)
        metres += [metre] * (len(starts) - 1 - len(metres))
    return _laid(quarter, np.array(starts, np.int64), tuple(metres))


def common_barlines(score: Score) -> Barlines:
    """Return bars of four quarter notes, whatever the score's time signatures."""
    return barlines(replace(score, metres=()))


def _stretches(metres: Sequence[Metre], end: int) -> list[tuple[int, int, tuple[int, int]]]:
    """Return from where to where which metre holds."""
    usable = [one for one in metres if one.numerator > 0 and one.onset_ticks < end]
    changes = {0: (4, 4)} | {one.onset_ticks: (one.numerator, one.denominator) for one in usable}
    ticks = sorted(changes)
    ends = [*ticks[1:], end]
    return [(a, b, changes[a]) for a, b in zip(ticks, ends, strict=True)]


def _laid(quarter: int, starts: IntArray, metres: tuple[tuple[int, int], ...]) -> Barlines:
    bar_ticks = QUARTERS_PER_BAR * quarter
    lengths = np.diff(starts)
    grid = np.concatenate(([0], np.cumsum(-(-lengths // bar_ticks))))
    late = np.zeros(len(lengths), np.int64)
    if len(lengths) > 1 and lengths[0] < bar_ticks:
        late[0] = bar_ticks - lengths[0]
    return Barlines(quarter, starts, grid, late, metres)
