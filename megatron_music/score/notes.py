"""Music as numpy columns: a Score as read (in ticks), a Piece on the grid (in steps)."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

QUARTERS_PER_BAR = 4
"""Only 4/4 is modelled, as in the article."""


@dataclass(frozen=True, eq=False)
class Track:
    """The notes of one instrument: three columns of equal length, int64.

    `onset` and `end` count ticks in a Score and steps in a Piece; `end` is exclusive.
    """

    instrument: int
    onset: IntArray
    end: IntArray
    pitch: IntArray

    def __len__(self) -> int:
        return len(self.onset)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Track)
            and self.instrument == other.instrument
            and np.array_equal(self.onset, other.onset)
            and np.array_equal(self.end, other.end)
            and np.array_equal(self.pitch, other.pitch)
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Metre:
    """A time signature and the tick from which it holds."""

    onset_ticks: int
    numerator: int
    denominator: int

    @property
    def is_common_time(self) -> bool:
        """True for 4/4."""
        return (self.numerator, self.denominator) == (4, 4)


@dataclass(frozen=True)
class Score:
    """Music as its source gives it, in ticks. No time signature means 4/4."""

    ticks_per_quarter: int
    tracks: tuple[Track, ...]
    metres: tuple[Metre, ...] = field(default=())
    tempo_bpm: float = 120.0

    @property
    def other_metres(self) -> tuple[Metre, ...]:
        """The time signatures that are not 4/4."""
        return tuple(metre for metre in self.metres if not metre.is_common_time)


@dataclass(frozen=True)
class Piece:
    """Music on the grid: whole 4/4 bars of `4 * steps_per_quarter` steps.

    Canonical: every track has a note; notes are sorted by onset, then pitch; each lasts a step or
    more, ends inside the piece and does not overlap another of its pitch in its track.
    """

    steps_per_quarter: int
    bars: int
    tracks: tuple[Track, ...]

    @property
    def steps_per_bar(self) -> int:
        """Steps in one 4/4 bar."""
        return QUARTERS_PER_BAR * self.steps_per_quarter
