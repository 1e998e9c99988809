"""The state that structural inputs are read from: how far a song has come, and what sounds in it.

A song is a row of `States`; its tokens are taken one after another. `structure_kernel` writes the
rows that describe it.
"""

from typing import NamedTuple

import numpy as np

from megatron_music.score.compiled import kernel
from megatron_music.score.hashing import Words
from megatron_music.score.instruments import DRUMS
from megatron_music.score.notes import IntArray
from megatron_music.tokenizer import token_kinds as kinds
from megatron_music.tokenizer.structure import CLASSES, PositionRows
from megatron_music.tokenizer.vocabulary import PITCHES

DRUM_CLASS, FIRST_VOICE = 1, 2

SILENT = -1
"""Means that there is no onset, or no end that is known."""

INDEX, TIME, BAR, TRACK, PART, HIDDEN, FILLED, LOW, HIGH, LAST, LAST_END = range(11)
START, STEPS, HEAD_STEPS, SYLLABLE_PLACE = range(11, 15)
_COLUMNS = 15
_FILL_COLUMNS = 5
WORD_BITS = 64
PITCH_WORDS = PITCHES // WORD_BITS
SOUND_WORDS = CLASSES * PITCH_WORDS


class States(NamedTuple):
    """How far songs have come; the first index is the song's. For one song alone it is left out.

    `cells` [songs, columns]; `onsets` and `cuts` [songs, 128]: where open notes began, and the
    first hidden bar after that; `held` [songs, 2]: bits of the open notes' pitches, as far as no
    hidden bar may have ended them; `fills` [songs, bars, 5]: bar, track, class, first step and
    steps of each hidden bar; `playing` [songs, steps, 2]: bits of the pitches of the unfinished
    track, between steps LOW and HIGH; `sounding` [songs, steps, 12]: of the others, by class.
    `striking` and `beginning` hold in the same way the pitches that begin at a step.
    """

    cells: IntArray
    onsets: IntArray
    cuts: IntArray
    held: Words
    fills: IntArray
    playing: Words
    striking: Words
    sounding: Words
    beginning: Words


def new_states(songs: int, rows: PositionRows) -> States:
    """Return songs that have not begun."""
    states = States(
        cells=np.zeros((songs, _COLUMNS), np.int64),
        onsets=np.full((songs, PITCHES), SILENT, np.int64),
        cuts=np.full((songs, PITCHES), SILENT, np.int64),
        held=np.zeros((songs, PITCH_WORDS), np.uint64),
        fills=np.zeros((songs, rows.seq_length, _FILL_COLUMNS), np.int64),
        playing=np.zeros((songs, rows.times, PITCH_WORDS), np.uint64),
        striking=np.zeros((songs, rows.times, PITCH_WORDS), np.uint64),
        sounding=np.zeros((songs, rows.times, SOUND_WORDS), np.uint64),
        beginning=np.zeros((songs, rows.times, SOUND_WORDS), np.uint64),
    )
    states.cells[:, LOW] = rows.times
    states.cells[:, STEPS] = states.cells[:, HEAD_STEPS] = rows.common_bar
    return states


@kernel
def state_of(states: States, song: int) -> States:
    """Return the state of one song, as views."""
    return States(
        states.cells[song],
        states.onsets[song],
        states.cuts[song],
        states.held[song],
        states.fills[song],
        states.playing[song],
        states.striking[song],
        states.sounding[song],
        states.beginning[song],
    )


@kernel
def reset(state: States, rows: PositionRows) -> None:
    """Reset a song to its beginning."""
    state.cells[:] = 0
    state.cells[LOW] = rows.times
    state.cells[STEPS] = state.cells[HEAD_STEPS] = rows.common_bar
    state.onsets[:] = SILENT
    state.cuts[:] = SILENT
    state.held[:] = 0
    state.playing[:] = 0
    state.striking[:] = 0
    state.sounding[:] = 0
    state.beginning[:] = 0


@kernel
def take(kind: int, value: int, rows: PositionRows, state: States) -> None:
    """Move a song past a token."""
    cells = state.cells
    cells[SYLLABLE_PLACE] = cells[SYLLABLE_PLACE] + 1 if kind == kinds.SYLLABLE else 0
    if kind == kinds.NOTE_ON:
        state.onsets[value] = cells[TIME]
        state.cuts[value] = SILENT
        state.held[value // WORD_BITS] |= _bit(value)
    elif kind == kinds.NOTE_OFF:
        onset = state.onsets[value]
        # A note that began in a hidden bar is known to sound from the beginning of this one.
        begins = cells[START] if onset == SILENT else onset
        _sound(value, begins, cells[TIME], rows, state)
        state.onsets[value] = SILENT
        # Also where it was not set: a note that a hidden bar may have ended is not among those
        # held.
        state.held[value // WORD_BITS] &= ~_bit(value)
        cells[LAST], cells[LAST_END] = value + 1, cells[TIME]
    elif kind == kinds.TIME_DELTA:
        cells[TIME] += value
    elif kind == kinds.BAR_END:
        _next_bar(cells)
    elif kind == kinds.TRACK_START:
        cells[BAR] = cells[TIME] = cells[PART] = cells[LAST] = cells[START] = 0
        cells[STEPS] = cells[HEAD_STEPS]
        cells[TRACK] += 1
    elif kind == kinds.INST:
        cells[PART] = value + 1
    elif kind == kinds.METRE:
        cells[STEPS] = value
        if cells[TRACK] == 0:
            cells[HEAD_STEPS] = value
    elif kind in (kinds.TRACK_END, kinds.FILL_IN, kinds.FILL_START, kinds.FILL_END):
        _take_mark(kind, rows, state)


@kernel
def _next_bar(cells: IntArray) -> None:
    cells[BAR] += 1
    cells[START] += cells[STEPS]
    cells[TIME] = cells[START]


@kernel
def _take_mark(kind: int, rows: PositionRows, state: States) -> None:
    cells = state.cells
    if kind == kinds.FILL_IN:
        _hide_bar(state)
    elif kind == kinds.FILL_START:
        if cells[FILLED] < cells[HIDDEN]:
            fill = state.fills[cells[FILLED]]
            cells[BAR], cells[TRACK], cells[PART] = fill[0], fill[1], fill[2]
            cells[TIME] = cells[START] = fill[3]
            cells[STEPS] = fill[4]
            cells[FILLED] += 1
    else:
        ends = cells[TIME] if kind == kinds.TRACK_END else cells[START] + cells[STEPS]
        _finish(ends, rows, state)
        cells[BAR] = cells[TIME] = cells[LAST] = cells[START] = 0
        cells[STEPS] = cells[HEAD_STEPS]


@kernel
def _hide_bar(state: States) -> None:
    """Pass a hidden bar; notes that sound into it are only known to sound up to it."""
    cells = state.cells
    if cells[HIDDEN] < len(state.fills):
        fill = state.fills[cells[HIDDEN]]
        fill[0], fill[1], fill[2] = cells[BAR], cells[TRACK], cells[PART]
        fill[3], fill[4] = cells[START], cells[STEPS]
        cells[HIDDEN] += 1
    for pitch in range(PITCHES):
        if state.onsets[pitch] != SILENT and state.cuts[pitch] == SILENT:
            state.cuts[pitch] = cells[START]
    # What is held may have ended in the hidden bar, and what ended last may be another pitch.
    state.held[:] = 0
    cells[LAST] = 0
    _next_bar(cells)


@kernel
def sound_class(instrument: int) -> int:
    """Return 0 for a General MIDI program, 1 for drums, 2 to 5 for the voices from the highest."""
    return max(0, instrument - DRUMS + DRUM_CLASS)


@kernel
def _bit(pitch: int) -> np.uint64:
    return np.uint64(1) << np.uint64(pitch % WORD_BITS)


@kernel
def _sound(pitch: int, begins: int, ends: int, rows: PositionRows, state: States) -> None:
    """Mark a pitch of the unfinished track as sounding, up to the last row of time."""
    # The position table has only so many rows of time; steps after them would be out of bounds.
    ends = min(ends, rows.times - 1)
    word, bit = pitch // WORD_BITS, _bit(pitch)
    for step in range(begins, ends):
        state.playing[step, word] |= bit
    if begins < ends:
        state.striking[begins, word] |= bit
        state.cells[LOW] = min(state.cells[LOW], begins)
        state.cells[HIGH] = max(state.cells[HIGH], ends)


@kernel
def _finish(ends: int, rows: PositionRows, state: States) -> None:
    """Add a track or a hidden bar to what sounds; notes without an end sound as far as known."""
    cells = state.cells
    for pitch in range(PITCHES):
        if state.onsets[pitch] != SILENT:
            cut = ends if state.cuts[pitch] == SILENT else state.cuts[pitch]
            _sound(pitch, state.onsets[pitch], cut, rows, state)
            state.onsets[pitch] = SILENT
    state.held[:] = 0
    first = sound_class(cells[PART] - 1) * PITCH_WORDS
    # Only the steps that this track touched, not the whole table.
    for step in range(cells[LOW], cells[HIGH]):
        for word in range(PITCH_WORDS):
            state.sounding[step, first + word] |= state.playing[step, word]
            state.beginning[step, first + word] |= state.striking[step, word]
            state.playing[step, word] = state.striking[step, word] = 0
    cells[LOW], cells[HIGH] = rows.times, 0
