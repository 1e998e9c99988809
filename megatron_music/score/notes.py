"""Music as numpy columns: a Score as read (in ticks), a Piece on the grid (in steps)."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from megatron_music.score.metre import COMMON_TIME, TimeSignature
from megatron_music.score.words import StrArray, without

IntArray = npt.NDArray[np.int64]

QUARTERS_PER_BAR = 4
"""Of a bar of 4/4: the only metre in the article, and that of music that tells none."""

DEFAULT_VELOCITY = 90
"""Of notes that are written where nothing tells how loud they are."""

DEFAULT_QUARTER_US = 500_000
"""Microseconds of a quarter note where nothing tells the tempo: 120 a minute."""

UNTOLD = 0
"""The velocity of a note where nothing tells how loud it is."""


@dataclass(frozen=True, eq=False)
class Track:
    """The notes of one instrument: columns of equal length, int64.

    `onset` and `end` count ticks in a Score and steps in a Piece; `end` is exclusive. `velocity`
    is MIDI's, 1 to 127, or UNTOLD, which all notes are where it is not given. `syllables` are what
    notes are sung to, "" for nothing, see `words`; None where nothing is sung. Tracks are equal
    when their notes are, at any velocity, to any words.
    """

    instrument: int
    onset: IntArray
    end: IntArray
    pitch: IntArray
    velocity: IntArray = None  # type: ignore[assignment] # made in __post_init__
    syllables: StrArray | None = None

    def __post_init__(self) -> None:
        """Have a velocity for each note."""
        if self.velocity is None:
            object.__setattr__(self, "velocity", np.full(len(self.onset), UNTOLD, np.int64))

    @property
    def loudness(self) -> IntArray:
        """The velocities to play at: the default where a note has none."""
        return np.where(self.velocity == UNTOLD, DEFAULT_VELOCITY, self.velocity)

    def some(
        self,
        chosen: npt.NDArray[np.bool_] | slice,
        onset: IntArray | None = None,
        end: IntArray | None = None,
    ) -> "Track":
        """Return some of the notes, at other times where these are given."""
        return Track(
            self.instrument,
            self.onset[chosen] if onset is None else onset,
            self.end[chosen] if end is None else end,
            self.pitch[chosen],
            self.velocity[chosen],
            None if self.syllables is None else self.syllables[chosen],
        )

    @property
    def sung(self) -> StrArray:
        """The syllables of all notes, "" for those that have none."""
        return without(len(self)) if self.syllables is None else self.syllables

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
    def signature(self) -> TimeSignature:
        """The metre without its place."""
        return TimeSignature(self.numerator, self.denominator)

    @property
    def is_common_time(self) -> bool:
        """True for 4/4."""
        return self.signature == COMMON_TIME


@dataclass(frozen=True)
class Tempo:
    """The microseconds of a quarter note and the tick from which they hold."""

    onset_ticks: int
    quarter_us: int


@dataclass(frozen=True)
class Score:
    """Music as its source gives it, in ticks. No time signature means 4/4.

    `tempo_bpm` is the tempo it begins at, and `tempos` are all that it has, by their ticks; without
    any it keeps the first. `bars` are the metres of the bars that it is laid out in from tick 0
    on, as `bar_layout.lay_out_bars` does; the last holds for all that follow, and none means 4/4.
    `words_left_out` says how many syllables of its source no note has, and why.
    """

    ticks_per_quarter: int
    tracks: tuple[Track, ...]
    metres: tuple[Metre, ...] = field(default=())
    tempo_bpm: float = 120.0
    bars: tuple[TimeSignature, ...] = ()
    tempos: tuple[Tempo, ...] = ()
    words_left_out: str = ""

    @property
    def other_metres(self) -> tuple[Metre, ...]:
        """The time signatures that are not 4/4."""
        return tuple(metre for metre in self.metres if not metre.is_common_time)


@dataclass(frozen=True)
class Piece:
    """Music on the grid, in whole bars.

    Canonical: every track has a note; notes are sorted by onset, then pitch; each lasts a step or
    more, ends inside the piece and does not overlap another of its pitch in its track.

    `metres` has the metre of each bar, and is empty where all are 4/4; `tempos_us` has the
    microseconds of a quarter note in each bar, and is empty where nothing tells them. Given for
    fewer bars, the last holds for the others. Pieces are equal at any tempo.
    """

    steps_per_quarter: int
    bars: int
    tracks: tuple[Track, ...]
    metres: tuple[TimeSignature, ...] = ()
    tempos_us: tuple[int, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        """Have a metre and a tempo for each bar, or none."""
        metres = self.metres[: self.bars]
        metres += metres[-1:] * (self.bars - len(metres))
        # () for 4/4 throughout, so that equal pieces are equal however they were made.
        plain = all(metre == COMMON_TIME for metre in metres)
        object.__setattr__(self, "metres", () if plain else metres)
        tempos = self.tempos_us[: self.bars]
        tempos += tempos[-1:] * (self.bars - len(tempos))
        object.__setattr__(self, "tempos_us", tempos)

    def metre_of(self, bar: int) -> TimeSignature:
        """Return the metre of a bar, counted from 0."""
        return self.metres[bar] if self.metres else COMMON_TIME

    def tempo_of(self, bar: int) -> int:
        """Return the microseconds of a quarter note in a bar, counted from 0."""
        return self.tempos_us[bar] if self.tempos_us else DEFAULT_QUARTER_US

    @cached_property
    def bar_starts(self) -> IntArray:
        """The step at which each bar begins, followed by the piece's length."""
        steps = [metre.steps(self.steps_per_quarter) for metre in self.metres or [COMMON_TIME]]
        lengths = steps if self.metres else steps * self.bars
        return np.cumsum([0, *lengths], dtype=np.int64)

    @property
    def is_sung(self) -> bool:
        """True where notes have words."""
        return any(track.syllables is not None for track in self.tracks)

    @property
    def steps(self) -> int:
        """The length of the piece."""
        return int(self.bar_starts[-1])

    def bar_at(self, steps: IntArray) -> IntArray:
        """Return the bar of each step, counted from 0."""
        if not self.metres:
            return steps // COMMON_TIME.steps(self.steps_per_quarter)
        return np.searchsorted(self.bar_starts, steps, side="right") - 1
