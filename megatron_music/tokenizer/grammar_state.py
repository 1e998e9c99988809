"""What a song has to become (Plan, Rules) and how far it has come (State), for the grammar."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.score.instruments import INSTRUMENT_COUNT
from megatron_music.tokenizer import token_kinds as kinds
from megatron_music.tokenizer.token_kinds import Cells, TokenTable, token_table
from megatron_music.tokenizer.vocabulary import PITCHES, Vocabulary

Masks = npt.NDArray[np.bool_]

SILENT = -1
"""What stands for no onset."""

START, HEAD, INSTRUMENT, DENSITY, BETWEEN_BARS, IN_BAR, BETWEEN_TRACKS, END = range(8)
PHASE, TRACKS, BAR, STEP, NOTES, SOUNDING, STRUCK = range(7)
PIECE_BARS, ATTRIBUTE, LENGTH, VOICE, LEVEL, FULL, ASKED = range(7, 14)
METRE, HEAD_METRE, BAR_START, CHANGED, CHANGES, CHANGES_TOLD = range(14, 20)
TEMPO, HEAD_TEMPO, VELOCITY, ANNOUNCED, SUNG, BAR_STEPS = range(20, 26)
COLUMNS = 26
NOT_SUNG = -1
"""What stands for the bytes of a syllable where none can go on."""
UNTOLD = -1
"""What stands for no metre, tempo or velocity, in the state and in a plan."""
METRE_TOLD, TEMPO_TOLD = 1, 2
"""Bits of CHANGED, and, less one, rows of `State.marks`."""
_PHASES_OF_KIND = {
    kinds.PIECE_START: (START,),
    kinds.PIECE_END: (BETWEEN_TRACKS,),
    kinds.TRACK_START: (HEAD, BETWEEN_TRACKS),
    kinds.TRACK_END: (BETWEEN_BARS,),
    kinds.BAR_START: (BETWEEN_BARS,),
    kinds.INST: (INSTRUMENT,),
    kinds.DENSITY: (DENSITY,),
    kinds.METRE: (HEAD, BETWEEN_BARS),
    kinds.TEMPO: (HEAD, BETWEEN_BARS),
    kinds.ATTRIBUTE: (HEAD,),
    **dict.fromkeys((kinds.BAR_END, *range(kinds.NOTE_ON, kinds.SYLLABLE + 1)), (IN_BAR,)),
}
PHASES_OF_KIND = np.array(
    [
        sum(1 << phase for phase in _PHASES_OF_KIND.get(kind, ()))
        for kind in range(kinds.SYLLABLE + 1)
    ],
    np.int64,
)
"""The phases in which each kind of token may come, as bits 1 << phase."""
_MOST_BARS = 1 << 12
ENDLESS = 1 << 40  # tokens: more than any piece has


@dataclass(frozen=True)
class Plan:
    """What a piece has to become; None leaves it open.

    `instruments` are codes in any order, `tracks` is how many without saying which; `max_tokens`
    counts from PIECE_START to PIECE_END. With
    `single_voices` SOPRANO, ALTO, TENOR and BASS sing one note at a time, and with `full_bars` as
    well up to each barline: a rest in a bar is followed by a note, which ends on the barline or is
    held over it. `attributes` are ids, ascending: the head has just these. `densities` gives
    instruments, by code, their level. `metre` is the index of the one that all bars are in, and
    `tempo` that of their tempo. `velocities` are the lowest and the highest level of notes.
    """

    bars: int | None = None
    instruments: tuple[int, ...] | None = None
    max_tokens: int | None = None
    single_voices: bool = False
    attributes: tuple[int, ...] | None = None
    densities: tuple[tuple[int, int], ...] = ()
    tracks: int | None = None
    full_bars: bool = True
    metre: int | None = None
    tempo: int | None = None
    velocities: tuple[int, int] | None = None

    @property
    def track_count(self) -> int | None:
        """How many tracks the piece has to have; None where that is open."""
        return self.tracks if self.instruments is None else len(self.instruments)


class Rules(NamedTuple):
    """A vocabulary and what the plans of a batch have in common, as numbers.

    `asks` and `asks_attributes` say that instruments and attributes are given; `levels` holds the
    density asked of each instrument, -1 where open, `metre` and `tempo` those of all bars.
    `bar_steps` are the lengths of bars by their metre. There are `tempos` tempi and `velocities`
    levels, 0 without such tokens; those from `softest` to `loudest` are asked for.
    """

    table: TokenTable
    has_density: int
    bar_steps: Cells
    has_metres: bool
    metre: int
    tempos: int
    tempo: int
    velocities: int
    softest: int
    loudest: int
    has_lyrics: bool
    note_tokens: int
    max_tokens: int
    asks: bool
    asks_attributes: bool
    single_voices: bool
    full_bars: bool
    levels: Cells
    attributes: Cells


class State(NamedTuple):
    """The state of songs: `cells` [songs, COLUMNS], onsets [songs, 128], `wanted` [songs, 133].

    `onsets` are steps since the track began, SILENT where a pitch does not sound. `wanted` counts
    the tracks of each instrument that are still to come; ASKED is how many there are in all, 0
    where that is open. `marks` [songs, 2, bars] are metres and tempi of the first track's bars.
    Of one song alone the first index is left out.
    """

    cells: Cells
    onsets: Cells
    wanted: Cells
    marks: Cells


class OpenNotes(NamedTuple):
    """Of the notes that sound, by pitch: their levels of velocity and the places of NOTE_ON."""

    levels: Cells
    places: Cells


def new_rules(vocabulary: Vocabulary, plan: Plan) -> Rules:
    """Return a plan over a vocabulary as the kernels take it, but for its bars and tracks."""
    v = vocabulary
    levels = np.full(INSTRUMENT_COUNT, -1, np.int64)
    for code, level in plan.densities:
        levels[code] = level
    softest, loudest = plan.velocities or (0, v.settings.velocity - 1)
    return Rules(
        token_table(v),
        has_density=int(v.settings.density),
        bar_steps=np.array(v.bar_steps, np.int64),
        has_metres=v.has_metres,
        metre=UNTOLD if plan.metre is None else plan.metre,
        tempos=len(v.tempi),
        tempo=UNTOLD if plan.tempo is None else plan.tempo,
        velocities=v.settings.velocity,
        softest=softest,
        loudest=loudest,
        has_lyrics=v.has_lyrics,
        note_tokens=v.note_tokens,
        max_tokens=ENDLESS if plan.max_tokens is None else plan.max_tokens,
        asks=plan.instruments is not None,
        asks_attributes=plan.attributes is not None,
        single_voices=plan.single_voices,
        full_bars=plan.full_bars,
        levels=levels,
        attributes=np.array(plan.attributes or (), np.int64),
    )


def new_state(plans: Sequence[Plan], rules: Rules, most_bars: int = _MOST_BARS) -> State:
    """Return songs that have not begun, one a plan; bars and tracks are each plan's own.

    `most_bars` bounds the bars of songs whose plan leaves them open.
    """
    songs = len(plans)
    cells = np.zeros((songs, COLUMNS), np.int64)
    cells[:, PIECE_BARS] = [plan.bars or 0 for plan in plans]
    cells[:, ASKED] = [plan.track_count or 0 for plan in plans]
    cells[:, ATTRIBUTE] = -1
    cells[:, METRE] = cells[:, HEAD_METRE] = UNTOLD if rules.has_metres else 0
    cells[:, TEMPO] = cells[:, HEAD_TEMPO] = UNTOLD if rules.tempos else 0
    cells[:, VELOCITY], cells[:, SUNG] = UNTOLD, NOT_SUNG
    onsets = np.full((songs, PITCHES), SILENT, np.int64)
    wanted = [np.bincount(plan.instruments or (), minlength=INSTRUMENT_COUNT) for plan in plans]
    # Without a number of bars the tokens bound them.
    bars = max(plan.bars or min(rules.max_tokens, most_bars) for plan in plans)
    marks = np.zeros((songs, 2, bars if rules.has_metres or rules.tempos else 1), np.int64)
    return State(cells, onsets, np.array(wanted, np.int64), marks)


def new_song(plan: Plan, rules: Rules, most_bars: int = _MOST_BARS) -> State:
    """Return one song that has not begun, without the index of songs; see `new_state`."""
    return State(*(of[0] for of in new_state([plan], rules, most_bars)))
