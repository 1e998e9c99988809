"""A position in a piece: how a token moves it, and how far the end is."""

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Self

from megatron_music.score.instruments import VOICES
from megatron_music.tokenizer.vocabulary import Kind, Vocabulary

METRE, TEMPO = range(2)
"""What changes with the bars; a place in the lists of `Position`."""


class Phase(Enum):
    """Which part of the form of a piece the next token is in; the value is for messages."""

    START = "before the piece"
    HEAD = "at the head of the piece"
    INSTRUMENT = "at the head of a track"
    DENSITY = "after the instrument"
    BETWEEN_BARS = "between bars"
    IN_BAR = "in a bar"
    BETWEEN_TRACKS = "between tracks"
    END = "after the piece"


@dataclass
class Position:
    """How far a piece has come: `bar` whole bars of its `tracks`-th track, `step` steps of it.

    `sounding` maps the pitches that sound to their onsets in steps since the track began;
    `struck` says that one of them began at this very step. `piece_bars` is None until the first
    track or a plan decides it. With `full_voices` the four voices sing one note at a time and up
    to each barline; `is_full` says that this track does.

    `bar_start` is the step at which this bar begins. Of metre and tempo, `head` has the indices of
    those that every track begins in and `now` those of this bar, None before their tokens.
    `changes` maps bars to the values told before them, as far as the tracks have come; `changed` is
    true after the token of the bar that comes now.

    `velocity` is the last level in this bar, None for none yet; `announced` is true between a
    VELOCITY token and its NOTE_ON. `sung` is the number of bytes that the syllable of the last
    note has so far, None where no syllable can continue.
    """

    vocabulary: Vocabulary
    piece_bars: int | None = None
    full_voices: bool = False
    phase: Phase = Phase.START
    tracks: int = 0
    bar: int = 0
    step: int = 0
    notes: int = 0
    sounding: dict[int, int] = field(default_factory=dict)
    struck: bool = False
    attribute: int = -1
    is_full: bool = False
    bar_start: int = 0
    head: list[int | None] = field(default_factory=lambda: [None, None])
    now: list[int | None] = field(default_factory=lambda: [None, None])
    changes: list[dict[int, int]] = field(default_factory=lambda: [{}, {}])
    changed: list[bool] = field(default_factory=lambda: [False, False])
    velocity: int | None = None
    announced: bool = False
    sung: int | None = None

    def __post_init__(self) -> None:
        """Have all bars in 4/4 and at one tempo where the vocabulary has no tokens for these."""
        for which, is_told in enumerate((self.vocabulary.has_metres, self.vocabulary.has_tempos)):
            if not is_told:
                self.head[which] = self.now[which] = 0

    @property
    def step_in_bar(self) -> int:
        """Steps since the last barline."""
        return self.step - self.bar_start

    @property
    def bar_steps(self) -> int:
        """The length of this bar."""
        return self.vocabulary.bar_steps[self.now[METRE] or 0]

    def due(self, which: int) -> int | None:
        """Return what this bar changes to in the first track, until its token has come."""
        due = self.changes[which].get(self.bar)
        return None if self.changed[which] or self.tracks <= 1 else due

    @property
    def in_last_bar(self) -> bool:
        """True in the last bar of a track whose number of bars is decided."""
        return self.bar + 1 == self.piece_bars

    def after(self, token: int) -> Self:
        """Return the position after a legal token, leaving this one as it is."""
        moved = replace(
            self,
            sounding=dict(self.sounding),
            head=list(self.head),
            now=list(self.now),
            changes=list(map(dict, self.changes)),
            changed=list(self.changed),
        )
        moved.take(token)
        return moved

    def take(self, token: int) -> None:
        """Move past a legal token."""
        kind, value = self.vocabulary.meanings[token]
        sung, self.sung = self.sung, None
        if kind is Kind.NOTE_ON:
            self.sounding[value] = self.step
            self.sung = 0 if self.vocabulary.has_lyrics else None
            self.notes, self.struck, self.announced = self.notes + 1, True, False
        elif kind is Kind.NOTE_OFF:
            del self.sounding[value]
        elif kind is Kind.TIME_DELTA:
            self.step, self.struck = self.step + value, False
        elif kind is Kind.INST:
            density = self.vocabulary.settings.density
            self.phase = Phase.DENSITY if density else Phase.BETWEEN_BARS
            self.is_full = self.full_voices and value in VOICES
        elif kind is Kind.DENSITY:
            self.phase = Phase.BETWEEN_BARS
        elif kind is Kind.ATTRIBUTE:
            self.attribute = value
        elif kind is Kind.MARK:
            self._take_mark(token)
        else:
            self._take_option(kind, value, sung)

    def _take_option(self, kind: Kind, value: int, sung: int | None) -> None:
        """Take what only some vocabularies have; `sung` are the bytes of the syllable before."""
        if kind in (Kind.METRE, Kind.TEMPO):
            which = METRE if kind is Kind.METRE else TEMPO
            self.now[which] = value
            if self.phase is Phase.HEAD:
                self.head[which] = value
            else:
                self.changes[which][self.bar], self.changed[which] = value, True
        elif kind is Kind.VELOCITY:
            self.velocity, self.announced = value, True
        elif sung is not None and self.vocabulary.spelling.lengths_bytes[value]:
            self.sung = sung + self.vocabulary.spelling.lengths_bytes[value]

    def _take_mark(self, token: int) -> None:
        v = self.vocabulary
        if token == v.piece_start:
            self.phase = Phase.HEAD
        elif token == v.track_start:
            self.phase, self.tracks = Phase.INSTRUMENT, self.tracks + 1
            self.bar = self.step = self.notes = self.bar_start = 0
            self.now = list(self.head)
        elif token == v.bar_start:
            self.phase, self.changed = Phase.IN_BAR, [False, False]
        elif token == v.bar_end:
            self.phase, self.bar, self.struck = Phase.BETWEEN_BARS, self.bar + 1, False
            self.bar_start += self.bar_steps
            self.step, self.velocity = self.bar_start, None
        elif token == v.track_end:
            self.phase, self.piece_bars = Phase.BETWEEN_TRACKS, self.bar
        elif token == v.piece_end:
            self.phase = Phase.END

    def min_tokens_left(self, tracks: int) -> int:
        """Count the tokens of the shortest way to finish a piece of at least `tracks` tracks.

        From every position some legal token lowers the count by one, so a piece that keeps the
        count within its budget can always be finished.
        """
        if self.phase is Phase.END:
            return 0
        later = max(tracks - self.tracks, 0)
        if self.phase is Phase.BETWEEN_TRACKS:
            return later * self._track_tokens(self.bar) + 1
        if self.phase in (Phase.START, Phase.HEAD):
            head = (self.phase is Phase.START) + self.head.count(None)
            return head + max(later, 1) * self._track_tokens(self.piece_bars or 1) + 1
        bars = self.piece_bars or self._fewest_bars()
        return self._owed_in_track(bars) + later * self._track_tokens(bars) + 1

    def _track_tokens(self, bars: int) -> int:
        frame = 3 + self.vocabulary.settings.density + 2 * bars + sum(map(len, self.changes))
        return frame + self.vocabulary.note_tokens

    def _owed_in_track(self, bars: int) -> int:
        in_bar = self.phase is Phase.IN_BAR
        head = {Phase.INSTRUMENT: 1 + self.vocabulary.settings.density, Phase.DENSITY: 1}
        frame = head.get(self.phase, 0) + in_bar + 2 * (bars - self.bar - in_bar) + 1
        frame += self._changes_due(in_bar)
        if self.is_full:
            return frame + self._owed_by_voice(bars)
        if self.announced:  # NOTE_ON, a pause and NOTE_OFF, and the ends of what sounds already
            return frame + 3 + len(self.sounding)
        notes = 0 if self.notes else self.vocabulary.note_tokens
        waits = bool(self.sounding) and (self.struck or not self.step_in_bar)
        return frame + notes + len(self.sounding) + waits

    def _changes_due(self, in_bar: bool) -> int:
        """Count the METRE and TEMPO tokens that are still to come in this track."""
        return sum(
            bar >= self.bar + (in_bar or told)
            for changes, told in zip(self.changes, self.changed, strict=True)
            for bar in changes
        )

    def _owed_by_voice(self, bars: int) -> int:
        """Count the tokens of notes that a voice owes that sings up to each barline.

        The shortest way is one note, held until the last barline.
        """
        last = self.bar + (self.phase is Phase.IN_BAR) == bars
        full = self.step_in_bar == self.bar_steps
        if self.sounding:
            return 1 if last and full else 2
        if last and (full or self.phase is Phase.BETWEEN_BARS):
            return 0
        told = self.velocity is not None and not full
        return self.vocabulary.note_tokens - told

    def _fewest_bars(self) -> int:
        """Return the fewest bars this track can end with, as long as nothing decides them."""
        if self.phase is Phase.IN_BAR:
            full = self.step_in_bar == self.bar_steps
            return self.bar + 1 + (full and not self.notes)
        return self.bar + bool(self.sounding or not self.notes or any(self.changed))
