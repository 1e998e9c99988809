"""Structural inputs, compiled: of whole documents and of songs that are being written.

`structure.py` says what rows and states mean. After each token of a song its rows are written, one
after the other; at last all are spread into a rectangle.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.score.hashing import Words
from megatron_music.score.instruments import DRUMS
from megatron_music.score.jit import borrowing_kernel, kernel, lowest_bit
from megatron_music.score.notes import IntArray
from megatron_music.tokenizer import structure as at
from megatron_music.tokenizer import token_kinds as kinds
from megatron_music.tokenizer.structure import (
    BEGINS,
    CLASSES,
    PITCH_WORDS,
    PLACES,
    SILENT,
    SOUND_WORDS,
    SOUNDS,
    TRACKS,
    PositionRows,
    RowArray,
    SongStates,
)
from megatron_music.tokenizer.token_kinds import TokenTable
from megatron_music.tokenizer.vocabulary import PITCHES

DRUM_CLASS, FIRST_VOICE = 1, 2
"""Classes of sounds; 0 is that of General MIDI programs, the voices are from the highest."""

MOST_SOUNDING, MOST_HELD = 60, 16
MOST_ROWS = 3 * MOST_SOUNDING + MOST_HELD + 2 * CLASSES + 10
"""The lists, and time, track, wait, syllable, both places and bounds, instrument, last pitch."""

WORD_BITS = 64
FIFTH_SEMITONES, OCTAVE_SEMITONES = 7, 12


class RowLists(NamedTuple):
    """The rows of tokens, one after the other, and how many there are so far, [1]."""

    flat: RowArray
    filled: IntArray


@kernel
def walk_documents(
    tokens: IntArray,
    starts: IntArray,
    places: IntArray,
    is_plain: npt.NDArray[np.bool_],
    rows: PositionRows,
    table: TokenTable,
    states: SongStates,
) -> RowArray:
    """Return the rows of whole documents; see `structure.document_rows`.

    `states` are of one song, which each document begins anew.
    """
    state = _state_of(states, 0)
    counts = np.zeros(len(tokens), np.int64)
    # A first guess, which `_with_room` makes larger where it is too small.
    lists = RowLists(np.empty(MOST_ROWS + 8 * len(tokens), np.int32), np.zeros(1, np.int64))
    for document in range(len(starts) - 1):
        first, last = starts[document], starts[document + 1]
        if is_plain[document]:
            lists = _with_room(lists, last - first)
            for place in range(last - first):
                _put(0, min(place, rows.seq_length - 1), lists)
            counts[first:last] = 1
        else:
            begin_songs(states, rows)
            lists = _with_room(lists, (last - first) * MOST_ROWS)
            # Slices, so that what is written into them is in the whole.
            part, number = tokens[first:last], counts[first:last]
            _walk(part, places[document], rows, table, state, lists, number)
    return _spread(lists.flat, counts, rows.total)


@kernel
def walk_songs(
    tokens: IntArray, places: IntArray, rows: PositionRows, table: TokenTable, states: SongStates
) -> RowArray:
    """Move songs past tokens [songs, n]; return their rows, song after song, [songs * n, most]."""
    songs, length = tokens.shape
    counts = np.zeros(songs * length, np.int64)
    lists = RowLists(np.empty(songs * length * MOST_ROWS, np.int32), np.zeros(1, np.int64))
    for song in range(songs):
        number = counts[song * length : (song + 1) * length]
        _walk(tokens[song], places[song], rows, table, _state_of(states, song), lists, number)
    return _spread(lists.flat, counts, rows.total)


@borrowing_kernel
def begin_songs(states: SongStates, rows: PositionRows) -> None:
    """Set songs to their beginning."""
    states.cells[:] = 0
    states.cells[:, at.TOUCHED_FROM] = rows.times
    states.cells[:, at.BAR_STEPS] = states.cells[:, at.FIRST_BAR_STEPS] = rows.common_bar
    states.onsets[:] = SILENT
    states.cuts[:] = SILENT
    states.held[:] = 0
    states.unfinished[:] = 0
    states.finished[:] = 0


@kernel
def _state_of(states: SongStates, song: int) -> SongStates:
    """Return the state of one song, as views."""
    # Not a borrowing kernel: what it returns is counted by its callers.
    return SongStates(
        states.cells[song],
        states.onsets[song],
        states.cuts[song],
        states.held[song],
        states.hidden_bars[song],
        states.unfinished[song],
        states.finished[song],
    )


@kernel
def _with_room(lists: RowLists, count: int) -> RowLists:
    filled = lists.filled[0]
    if filled + count <= len(lists.flat):
        return lists
    larger = np.empty(max(filled + count, 2 * len(lists.flat)), np.int32)
    larger[:filled] = lists.flat[:filled]
    return RowLists(larger, lists.filled)


@kernel
def _spread(flat: RowArray, counts: IntArray, none: int) -> RowArray:
    """Return lists of rows as a rectangle; shorter ones end in `none`."""
    most = 1
    for count in counts:
        most = max(most, count)
    spread = np.empty((len(counts), most), np.int32)
    done = 0
    for token in range(len(counts)):
        for place in range(most):
            spread[token, place] = flat[done + place] if place < counts[token] else none
        done += counts[token]
    return spread


@borrowing_kernel
def _walk(
    tokens: IntArray,
    place: IntArray,
    rows: PositionRows,
    table: TokenTable,
    state: SongStates,
    lists: RowLists,
    counts: IntArray,
) -> None:
    """Take tokens, append the rows of each to `lists`, and write how many they are to `counts`."""
    for position in range(len(tokens)):
        token, before = tokens[position], lists.filled[0]
        if 0 <= token < len(table.kinds):
            _take(table.kinds[token], table.values[token], rows, state)
        _write_rows(place, rows, state, lists)
        counts[position] = lists.filled[0] - before


@borrowing_kernel
def _take(  # noqa: C901, PLR0912 (a kind of token after the other)
    kind: int, value: int, rows: PositionRows, state: SongStates
) -> None:
    """Move a song past a token."""
    cells = state.cells
    cells[at.SYLLABLE_PLACE] = cells[at.SYLLABLE_PLACE] + 1 if kind == kinds.SYLLABLE else 0
    if kind == kinds.NOTE_ON:
        state.onsets[value] = cells[at.TIME]
        state.cuts[value] = SILENT
        state.held[value // WORD_BITS] |= _bit(value)
    elif kind == kinds.NOTE_OFF:
        onset = state.onsets[value]
        # A note that began in a hidden bar is known to sound from the beginning of this one.
        begins = cells[at.BAR_START] if onset == SILENT else onset
        _add_note(value, begins, cells[at.TIME], rows, state)
        state.onsets[value] = SILENT
        # Also where it was not set: a note that a hidden bar may have ended is not held.
        state.held[value // WORD_BITS] &= ~_bit(value)
        cells[at.LAST], cells[at.LAST_END] = value + 1, cells[at.TIME]
    elif kind == kinds.TIME_DELTA:
        cells[at.TIME] += value
    elif kind == kinds.BAR_END:
        _next_bar(cells)
    elif kind == kinds.TRACK_START:
        _to_first_bar(cells)
        cells[at.INSTRUMENT] = 0
        cells[at.TRACK] += 1
    elif kind == kinds.INST:
        cells[at.INSTRUMENT] = value + 1
    elif kind == kinds.METRE:
        cells[at.BAR_STEPS] = value
        if cells[at.TRACK] == 0:
            cells[at.FIRST_BAR_STEPS] = value
    elif kind == kinds.TRACK_END:
        _finish_track(cells[at.TIME], rows, state)
    elif kind == kinds.FILL_IN:
        _hide_bar(state)
    elif kind == kinds.FILL_START and cells[at.FILLED] < cells[at.HIDDEN]:
        for column in range(at.BAR_COLUMNS):
            cells[column] = state.hidden_bars[cells[at.FILLED], column]
        cells[at.TIME] = cells[at.BAR_START]
        cells[at.FILLED] += 1
    elif kind == kinds.FILL_END:
        _finish_track(cells[at.BAR_START] + cells[at.BAR_STEPS], rows, state)


@borrowing_kernel
def _next_bar(cells: IntArray) -> None:
    cells[at.BAR] += 1
    cells[at.BAR_START] += cells[at.BAR_STEPS]
    cells[at.TIME] = cells[at.BAR_START]


@borrowing_kernel
def _to_first_bar(cells: IntArray) -> None:
    cells[at.BAR] = cells[at.BAR_START] = cells[at.TIME] = cells[at.LAST] = 0
    cells[at.BAR_STEPS] = cells[at.FIRST_BAR_STEPS]


@borrowing_kernel
def _hide_bar(state: SongStates) -> None:
    """Pass a hidden bar; notes that sound into it are only known to sound up to it."""
    cells = state.cells
    if cells[at.HIDDEN] < len(state.hidden_bars):
        for column in range(at.BAR_COLUMNS):
            state.hidden_bars[cells[at.HIDDEN], column] = cells[column]
        cells[at.HIDDEN] += 1
    for pitch in range(PITCHES):
        if state.onsets[pitch] != SILENT and state.cuts[pitch] == SILENT:
            state.cuts[pitch] = cells[at.BAR_START]
    # What is held may have ended in the hidden bar, and what ended last may be another pitch.
    state.held[:] = 0
    cells[at.LAST] = 0
    _next_bar(cells)


@borrowing_kernel
def _sound_class(instrument: int) -> int:
    """Return 0 for a General MIDI program, 1 for drums, 2 to 5 for the voices from the highest."""
    return max(0, instrument - DRUMS + DRUM_CLASS)


@borrowing_kernel
def _bit(pitch: int) -> np.uint64:
    return np.uint64(1) << np.uint64(pitch % WORD_BITS)


@borrowing_kernel
def _add_note(pitch: int, begins: int, ends: int, rows: PositionRows, state: SongStates) -> None:
    """Mark a pitch of the unfinished track as sounding, up to the last row of time."""
    # The position table has only so many rows of time; steps after them would be out of bounds.
    ends = min(ends, rows.times - 1)
    word, bit = pitch // WORD_BITS, _bit(pitch)
    for step in range(begins, ends):
        state.unfinished[SOUNDS, step, word] |= bit
    if begins < ends:
        state.unfinished[BEGINS, begins, word] |= bit
        state.cells[at.TOUCHED_FROM] = min(state.cells[at.TOUCHED_FROM], begins)
        state.cells[at.TOUCHED_TO] = max(state.cells[at.TOUCHED_TO], ends)


@borrowing_kernel
def _finish_track(ends: int, rows: PositionRows, state: SongStates) -> None:
    """Add a track or a hidden bar to what sounds; notes without an end sound as far as known."""
    cells = state.cells
    for pitch in range(PITCHES):
        if state.onsets[pitch] != SILENT:
            cut = ends if state.cuts[pitch] == SILENT else state.cuts[pitch]
            _add_note(pitch, state.onsets[pitch], cut, rows, state)
            state.onsets[pitch] = SILENT
    state.held[:] = 0
    first = _sound_class(cells[at.INSTRUMENT] - 1) * PITCH_WORDS
    for way in (SOUNDS, BEGINS):
        # Only the steps that this track touched, not the whole table.
        for step in range(cells[at.TOUCHED_FROM], cells[at.TOUCHED_TO]):
            for word in range(PITCH_WORDS):
                state.finished[way, step, first + word] |= state.unfinished[way, step, word]
                state.unfinished[way, step, word] = 0
    cells[at.TOUCHED_FROM], cells[at.TOUCHED_TO] = rows.times, 0
    _to_first_bar(cells)


@borrowing_kernel
def _write_rows(place: IntArray, rows: PositionRows, state: SongStates, lists: RowLists) -> None:
    """Append the rows that describe a song's state."""
    cells = state.cells
    time = min(cells[at.TIME], rows.times - 1)
    if rows.time < 0:
        _put(0, min(cells[at.INDEX], rows.seq_length - 1), lists)
    cells[at.INDEX] += 1
    _put(rows.time, time, lists)
    _put(rows.track, min(cells[at.TRACK], TRACKS - 1), lists)
    if cells[at.SYLLABLE_PLACE]:
        _put(rows.sung, min(cells[at.SYLLABLE_PLACE], at.SUNG) - 1, lists)
    if cells[at.INSTRUMENT]:
        _put(rows.instrument, cells[at.INSTRUMENT] - 1, lists)
    _put_pitches(rows.held, state.held, MOST_HELD, lists)
    _put_pitches(rows.sounding, state.finished[SOUNDS, time], MOST_SOUNDING, lists)
    if rows.begins >= 0:
        _put_ahead(time, rows, state.finished, lists)
    if rows.last >= 0 and cells[at.LAST]:
        last = cells[at.LAST] - 1
        _put(rows.last, last, lists)
        if time > 0 and cells[at.LAST_END] == time:
            sounds = state.finished[SOUNDS, time - 1 : time + 1]
            _put_parallels(rows.fifths, last, FIFTH_SEMITONES, sounds, lists)
            _put_parallels(rows.octaves, last, 0, sounds, lists)
    if rows.above >= 0:
        _put_bounds(time, rows, state, lists)
    before, bars = place[0], place[1]
    if before >= 0:
        _put(rows.since_begin, min(before + cells[at.BAR], PLACES - 1), lists)
    if before >= 0 and bars >= 0:
        left = max(bars - 1 - before - cells[at.BAR], 0)
        _put(rows.to_end, min(left, PLACES - 1), lists)


@borrowing_kernel
def _put(first: int, index: int, lists: RowLists) -> None:
    """Append a row of the group that begins at `first`, unless the model lacks the group."""
    if first >= 0:
        lists.flat[lists.filled[0]] = first + index
        lists.filled[0] += 1


@borrowing_kernel
def _put_pitches(first: int, words: Words, most: int, lists: RowLists) -> None:
    """Append a row for each bit, the lowest `most`, unless the model lacks the group."""
    if first < 0:
        return
    last = lists.filled[0] + most
    for word in range(len(words)):
        bits = words[word]
        while bits and lists.filled[0] < last:
            _put(first, word * WORD_BITS + lowest_bit(bits), lists)
            bits &= bits - np.uint64(1)


@borrowing_kernel
def _put_ahead(time: int, rows: PositionRows, finished: Words, lists: RowLists) -> None:
    """Append what begins in the finished tracks, what sounds after their next change, and when."""
    _put_pitches(rows.begins, finished[BEGINS, time], MOST_SOUNDING, lists)
    change = time + 1
    while change < rows.times and not _changes(change, finished):
        change += 1
    if change < rows.times:
        _put_pitches(rows.after, finished[SOUNDS, change], MOST_SOUNDING, lists)
        _put(rows.wait, min(change - time, rows.waits - 1), lists)
    else:  # nothing is known to come
        _put(rows.wait, 0, lists)


@borrowing_kernel
def _changes(step: int, finished: Words) -> bool:
    """Tell whether a note of the finished tracks begins or ends at a step."""
    for word in range(SOUND_WORDS):
        if finished[BEGINS, step, word] or (
            finished[SOUNDS, step, word] != finished[SOUNDS, step - 1, word]
        ):
            return True
    return False


@borrowing_kernel
def _put_parallels(first: int, last: int, interval: int, sounds: Words, lists: RowLists) -> None:
    """Append the pitches that `last` would reach in parallel with a class's only pitch.

    `interval` is that between the two, and `sounds` [2, words] what the finished tracks had at the
    step before and have now.
    """
    begin = lists.filled[0]
    for part in range(CLASSES):
        before, now = _only_pitch(part, sounds[0]), _only_pitch(part, sounds[1])
        moved = last + now - before
        is_parallel = min(before, now) != SILENT and before != now and part != DRUM_CLASS
        is_parallel &= abs(last - before) % OCTAVE_SEMITONES == interval and 0 <= moved < PITCHES
        # Rows are added up: one that two classes give counts once.
        for written in range(begin, lists.filled[0]):
            is_parallel &= lists.flat[written] != first + moved
        if is_parallel:
            _put(first, moved, lists)


@borrowing_kernel
def _only_pitch(part: int, words: Words) -> int:
    """Return the one pitch of a class that sounds, SILENT where none or several do."""
    pitch = SILENT
    for word in range(PITCH_WORDS):
        bits = words[part * PITCH_WORDS + word]
        if bits:
            if pitch != SILENT or bits & (bits - np.uint64(1)):
                return SILENT
            pitch = word * WORD_BITS + lowest_bit(bits)
    return pitch


@borrowing_kernel
def _put_bounds(time: int, rows: PositionRows, state: SongStates, lists: RowLists) -> None:
    """Append the pitches between which a voice stays that does not cross a finished one."""
    voice = _sound_class(state.cells[at.INSTRUMENT] - 1)
    if voice < FIRST_VOICE:
        return
    above, below = PITCHES, SILENT
    for word in range(FIRST_VOICE * PITCH_WORDS, SOUND_WORDS):
        other, bits = word // PITCH_WORDS, state.finished[SOUNDS, time, word]
        while bits:
            pitch = word % PITCH_WORDS * WORD_BITS + lowest_bit(bits)
            bits &= bits - np.uint64(1)
            above = min(above, pitch) if other < voice else above
            below = max(below, pitch) if other > voice else below
    if above < PITCHES:
        _put(rows.above, above, lists)
    if below != SILENT:
        _put(rows.below, below, lists)
