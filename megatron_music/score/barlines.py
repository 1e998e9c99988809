"""The bars of a prompt by its time signatures, and the bars of the grid that hold them.

`bar_layout` leaves music out of data sets; here all music of a prompt is kept.

The grid has bars in the metres that the model knows, mostly 4/4 alone. A bar of the file in a known
metre is one bar of the grid. A bar in another metre takes one or more bars of 4/4, whose rest is
silent. So bars in known metres are on the grid as in training, whatever precedes them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from megatron_music.score.metre import COMMON_TIME, SIXTEENTHS, TimeSignature, cut_short
from megatron_music.score.notes import IntArray, Metre, Score

_SHORTEST_BAR = 64
"""The part of a whole note below which a time signature is damage."""


@dataclass(frozen=True)
class Barlines:
    """The bars of a file in ticks, and the bars of the grid that they are laid into.

    `starts` has the tick at which each bar of the file begins, followed by that of its end;
    `grid` in the same way the bars of the grid, counted from 0, `late` by how many ticks the bar
    begins after the bar of the grid: a first bar that is short is an upbeat. After the end bars go
    on as the last. `grid_metres` are those of the grid's bars.
    """

    ticks_per_quarter: int
    starts: IntArray
    grid: IntArray
    late: IntArray
    metres: tuple[tuple[int, int], ...]
    grid_metres: tuple[TimeSignature, ...]

    @property
    def bars(self) -> int:
        """How many bars the file has."""
        return len(self.starts) - 1

    @cached_property
    def _grid_starts(self) -> IntArray:
        lengths = [metre.sixteenths for metre in self.grid_metres]
        sixteenths = np.cumsum([0, *lengths], dtype=np.int64)
        starts: IntArray = sixteenths * self.ticks_per_quarter // SIXTEENTHS
        return starts

    def grid_ticks(self, grid_bars: IntArray) -> IntArray:
        """Return the ticks of the grid at which its bars begin."""
        starts = self._grid_starts
        inside = np.minimum(grid_bars, len(self.grid_metres))
        begins: IntArray = starts[inside] + (grid_bars - inside) * (starts[-1] - starts[-2])
        return begins

    def is_whole(self, bar: int) -> bool:
        """Tell whether a bar of the file, from 0, is one of the grid; true after the last."""
        place = min(bar, self.bars - 1)
        first, last = self.grid_ticks(self.grid[[place, place + 1]])
        one = self.grid[place + 1] == self.grid[place] + 1
        return bool(one and self.starts[place + 1] - self.starts[place] == last - first)

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
        """Return the music as the grid has it, its notes moved with their bars."""
        tracks = (
            replace(track, onset=self._moved(track.onset), end=self._moved(track.end, 1))
            for track in score.tracks
        )
        marks = self._moved(np.array([tempo.onset_ticks for tempo in score.tempos], np.int64))
        tempos = (
            replace(tempo, onset_ticks=tick)
            for tempo, tick in zip(score.tempos, marks.tolist(), strict=True)
        )
        return replace(
            score,
            tracks=tuple(tracks),
            metres=(),
            bars=self.grid_metres,
            tempos=tuple(tempos),
        )

    def _moved(self, ticks: IntArray, before: int = 0) -> IntArray:
        """Return places on the grid; with `before`, of what ends there."""
        bar = np.searchsorted(self.starts[1:-1], ticks - before, side="right")
        begins = self.grid_ticks(self.grid[bar])
        moved: IntArray = ticks - self.starts[bar] + begins + self.late[bar]
        return moved

    def ticks(self, grid_ticks: IntArray, before: int = 0) -> IntArray:
        """Return where places on the grid are in the file; with `before`, of what ends there."""
        edges = self.grid_ticks(self.grid[1:-1])
        bar = np.searchsorted(edges, grid_ticks - before, side="right")
        inside = grid_ticks - self.grid_ticks(self.grid[bar]) - self.late[bar]
        placed: IntArray = self.starts[bar] + np.maximum(inside, 0)
        return placed


def barlines(score: Score, known: Collection[TimeSignature] = (COMMON_TIME,)) -> Barlines:
    """Return the bars of a score, to its last note, by its time signatures.

    The grid has bars in the metres that are `known`.
    """
    quarter = score.ticks_per_quarter
    end = max(int(track.end.max()) for track in score.tracks)
    ticks, metres = bar_starts(score.metres, end, quarter)
    starts = np.array(ticks, np.int64)
    lengths = np.diff(starts).tolist()
    usual = COMMON_TIME if COMMON_TIME in known else max(known, key=lambda one: one.sixteenths)
    bars = []
    for length, written in zip(lengths, metres, strict=True):
        metre = TimeSignature(*written)
        sixteenths, rest = divmod(SIXTEENTHS * length, quarter)
        alike = None if rest or metre.denominator < 1 else cut_short(sixteenths, metre[1], known)
        if metre in known and metre.sixteenths == sixteenths and not rest:
            alike = metre
        # A bar of no metre that the grid knows is laid into as many usual bars as hold it.
        filled = max(1, -(-SIXTEENTHS * length // (usual.sixteenths * quarter)))
        bars.append([usual] * filled if alike is None else [alike])
    grid = np.cumsum([0, *map(len, bars)], dtype=np.int64)
    late = np.zeros(len(lengths), np.int64)
    # A first bar that is short is an upbeat: it ends with its bar of the grid, not begins with it.
    first = bars[0][0].sixteenths * quarter // SIXTEENTHS
    if len(lengths) > 1 and lengths[0] < first:
        late[0] = first - lengths[0]
    on_grid = tuple(one for of in bars for one in of)
    return Barlines(quarter, starts, grid, late, tuple(metres), on_grid)


def bar_starts(
    metres: Sequence[Metre], end_ticks: int, ticks_per_quarter: int
) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the ticks where bars begin, then the tick where the last ends, and each bar's metre.

    Signatures of bars that are shorter than a 64th note are left out of account.
    """
    usable = [
        one
        for one in metres
        if 0 < one.denominator <= _SHORTEST_BAR * one.numerator and one.onset_ticks < end_ticks
    ]
    # Of several signatures at one tick the last counts; until the first a file is in 4/4.
    changes = {0: (4, 4)} | {one.onset_ticks: (one.numerator, one.denominator) for one in usable}
    ticks = sorted(changes)
    starts = [0]
    found: list[tuple[int, int]] = []
    for first, last in zip(ticks, [*ticks[1:], end_ticks], strict=True):
        metre = changes[first]
        bar_ticks = max(1, 4 * ticks_per_quarter * metre[0] // metre[1])
        starts += range(first + bar_ticks, last, bar_ticks)
        starts.append(last if last < end_ticks else starts[-1] + bar_ticks)
        found += [metre] * (len(starts) - 1 - len(found))
    return starts, found


def common_barlines(score: Score) -> Barlines:
    """Return bars of four quarter notes, without regard to the score's time signatures."""
    return barlines(replace(score, metres=()))
