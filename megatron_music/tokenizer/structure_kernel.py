"""Structural inputs, compiled: of whole documents and of songs that are being written.

`structure.py` says what rows and states mean. After each token of a song its rows are written, one
after the other; at last all are spread into a rectangle.
"""

import numpy as np
import numpy.typing as npt

from megatron_music.score.hashing import Words
from megatron_music.score.instruments import DRUMS
from megatron_music.score.jit import kernel, lowest_bit
from megatron_music.score.notes import IntArray
from megatron_music.tokenizer import structure as at
from megatron_music.tokenizer import token_kinds as kinds
from megatron_music.tokenizer.structure import (
    CLASSES,
    HIDDEN_BAR_COLUMNS,
    PITCH_WORDS,
    PLACES,
    SILENT,
    SOUND_WORDS,
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
    flat = np.empty(MOST_ROWS + 8 * len(tokens), np.int32)
    filled = 0
    for document in range(len(starts) - 1):
        first, last = starts[document], starts[document + 1]
        # Slices, so that what is written into them is in the whole.
        part, number = tokens[first:last], counts[first:last]
        if is_plain[document]:
            flat = _with_room(flat, filled, last - first)
            for place in range(last - first):
                flat[filled] = min(place, rows.seq_length - 1)
                number[place] = 1
                filled += 1
        else:
            begin_songs(states, rows)
            flat = _with_room(flat, filled, (last - first) * MOST_ROWS)
            filled = _walk(part, places[document], rows, table, state, flat, filled, number)
    return _spread(flat, counts, rows.total)


@kernel
def walk_songs(
    tokens: IntArray, places: IntArray, rows: PositionRows, table: TokenTable, states: SongStates
) -> RowArray:
    """Move songs past tokens [songs, n]; return their rows, song after song, [songs * n, most]."""
    songs, length = tokens.shape
    counts = np.zeros(songs * length, np.int64)
    flat = np.empty(songs * length * MOST_ROWS, np.int32)
    filled = 0
    for song in range(songs):
        number = counts[song * length : (song + 1) * length]
        state = _state_of(states, song)
        filled = _walk(tokens[song], places[song], rows, table, state, flat, filled, number)
    return _spread(flat, counts, rows.total)


@kernel
def begin_songs(states: SongStates, rows: PositionRows) -> None:
    """Set songs to their beginning."""
    states.cells[:] = 0
    states.cells[:, at.TOUCHED_FROM] = rows.times
    states.cells[:, at.BAR_STEPS] = states.cells[:, at.FIRST_BAR_STEPS] = rows.common_bar
    states.onsets[:] = SILENT
    states.cuts[:] = SILENT
    states.held[:] = 0
    states.track_sounding[:] = 0
    states.track_beginning[:] = 0
    states.sounding[:] = 0
    states.beginning[:] = 0


@kernel
def _state_of(states: SongStates, song: int) -> SongStates:
    """Return the state of one song, as views."""
    return SongStates(
        states.cells[song],
        states.onsets[song],
        states.cuts[song],
        states.held[song],
        states.hidden_bars[song],
        states.track_sounding[song],
        states.track_beginning[song],
        states.sounding[song],
        states.beginning[song],
    )


@kernel
def _with_room(flat: RowArray, filled: int, count: int) -> RowArray:
    if filled + count <= len(flat):
        return flat
    larger = np.empty(max(filled + count, 2 * len(flat)), np.int32)
    larger[:filled] = flat[:filled]
    return larger


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


@kernel
def _walk(
    tokens: IntArray,
    place: IntArray,
    rows: PositionRows,
    table: TokenTable,
    state: SongStates,
    flat: RowArray,
    filled: int,
    counts: IntArray,
) -> int:
    """Take tokens, write their rows to `flat` from `filled` on; return where they end."""
    for position in range(len(tokens)):
        token = tokens[position]
        if 0 <= token < len(table.kinds):
            _take(table.kinds[token], table.values[token], rows, state)
        written = _write_rows(place, rows, state, flat, filled)
        counts[position] = written - filled
        filled = written
    return filled


@kernel
def _take(kind: int, value: int, rows: PositionRows, state: SongStates) -> None:
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
        cells[at.BAR] = cells[at.BAR_START] = cells[at.TIME] = 0
        cells[at.INSTRUMENT] = cells[at.LAST] = 0
        cells[at.BAR_STEPS] = cells[at.FIRST_BAR_STEPS]
        cells[at.TRACK] += 1
    elif kind == kinds.INST:
        cells[at.INSTRUMENT] = value + 1
    elif kind == kinds.METRE:
        cells[at.BAR_STEPS] = value
        if cells[at.TRACK] == 0:
            cells[at.FIRST_BAR_STEPS] = value
    elif kind in (kinds.TRACK_END, kinds.FILL_IN, kinds.FILL_START, kinds.FILL_END):
        _take_mark(kind, rows, state)


@kernel
def _next_bar(cells: IntArray) -> None:
    cells[at.BAR] += 1
    cells[at.BAR_START] += cells[at.BAR_STEPS]
    cells[at.TIME] = cells[at.BAR_START]


@kernel
def _take_mark(kind: int, rows: PositionRows, state: SongStates) -> None:
    cells = state.cells
    if kind == kinds.FILL_IN:
        _hide_bar(state)
    elif kind == kinds.FILL_START:
        if cells[at.FILLED] < cells[at.HIDDEN]:
            for i in range(len(HIDDEN_BAR_COLUMNS)):
                cells[HIDDEN_BAR_COLUMNS[i]] = state.hidden_bars[cells[at.FILLED], i]
            cells[at.TIME] = cells[at.BAR_START]
            cells[at.FILLED] += 1
    else:
        bar_end = cells[at.BAR_START] + cells[at.BAR_STEPS]
        ends = cells[at.TIME] if kind == kinds.TRACK_END else bar_end
        _finish_track(ends, rows, state)
        cells[at.BAR] = cells[at.TIME] = cells[at.LAST] = cells[at.BAR_START] = 0
        cells[at.BAR_STEPS] = cells[at.FIRST_BAR_STEPS]


@kernel
def _hide_bar(state: SongStates) -> None:
    """Pass a hidden bar; notes that sound into it are only known to sound up to it."""
    cells = state.cells
    if cells[at.HIDDEN] < len(state.hidden_bars):
        for i in range(len(HIDDEN_BAR_COLUMNS)):
            state.hidden_bars[cells[at.HIDDEN], i] = cells[HIDDEN_BAR_COLUMNS[i]]
        cells[at.HIDDEN] += 1
    for pitch in range(PITCHES):
        if state.onsets[pitch] != SILENT and state.cuts[pitch] == SILENT:
            state.cuts[pitch] = cells[at.BAR_START]
    # What is held may have ended in the hidden bar, and what ended last may be another pitch.
    state.held[:] = 0
    cells[at.LAST] = 0
    _next_bar(cells)


@kernel
def _sound_class(instrument: int) -> int:
    """Return 0 for a General MIDI program, 1 for drums, 2 to 5 for the voices from the highest."""
    return max(0, instrument - DRUMS + DRUM_CLASS)


@kernel
def _bit(pitch: int) -> np.uint64:
    return np.uint64(1) << np.uint64(pitch % WORD_BITS)


@kernel
def _add_note(pitch: int, begins: int, ends: int, rows: PositionRows, state: SongStates) -> None:
    """Mark a pitch of the unfinished track as sounding, up to the last row of time."""
    # The position table has only so many rows of time; steps after them would be out of bounds.
    ends = min(ends, rows.times - 1)
    word, bit = pitch // WORD_BITS, _bit(pitch)
    for step in range(begins, ends):
        state.track_sounding[step, word] |= bit
    if begins < ends:
        state.track_beginning[begins, word] |= bit
        state.cells[at.TOUCHED_FROM] = min(state.cells[at.TOUCHED_FROM], begins)
        state.cells[at.TOUCHED_TO] = max(state.cells[at.TOUCHED_TO], ends)


@kernel
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
    # Only the steps that this track touched, not the whole table.
    for step in range(cells[at.TOUCHED_FROM], cells[at.TOUCHED_TO]):
        for word in range(PITCH_WORDS):
            state.sounding[step, first + word] |= state.track_sounding[step, word]
            state.beginning[step, first + word] |= state.track_beginning[step, word]
            state.track_sounding[step, word] = state.track_beginning[step, word] = 0
    cells[at.TOUCHED_FROM], cells[at.TOUCHED_TO] = rows.times, 0


@kernel
def _write_rows(  # noqa: C901 (a group of rows after the other)
    place: IntArray, rows: PositionRows, state: SongStates, flat: RowArray, filled: int
) -> int:
    """Write the rows that describe a song's state; return where they end."""
    cells = state.cells
    time = min(cells[at.TIME], rows.times - 1)
    flat[filled] = min(cells[at.INDEX], rows.seq_length - 1) if rows.time < 0 else rows.time + time
    cells[at.INDEX] += 1
    filled += 1
    if rows.track >= 0:
        flat[filled] = rows.track + min(cells[at.TRACK], TRACKS - 1)
        filled += 1
    if rows.sung >= 0 and cells[at.SYLLABLE_PLACE]:
        flat[filled] = rows.sung + min(cells[at.SYLLABLE_PLACE], at.SUNG) - 1
        filled += 1
    if rows.instrument >= 0 and cells[at.INSTRUMENT]:
        flat[filled] = rows.instrument + cells[at.INSTRUMENT] - 1
        filled += 1
    if rows.held >= 0:
        filled = _write_bits(state.held, rows.held, MOST_HELD, flat, filled)
    if rows.sounding >= 0:
        filled = _write_bits(state.sounding[time], rows.sounding, MOST_SOUNDING, flat, filled)
    if rows.begins >= 0:
        filled = _write_ahead(time, rows, state, flat, filled)
    if rows.last >= 0:
        filled = _write_motion(time, rows, state, flat, filled)
    if rows.above >= 0:
        filled = _write_bounds(time, rows, state, flat, filled)
    before, bars = place[0], place[1]
    if rows.since_begin >= 0 and before >= 0:
        flat[filled] = rows.since_begin + min(before + cells[at.BAR], PLACES - 1)
        filled += 1
        if bars >= 0:
            left = max(bars - 1 - before - cells[at.BAR], 0)
            flat[filled] = rows.to_end + min(left, PLACES - 1)
            filled += 1
    return filled


@kernel
def _write_bits(words: Words, first: int, most: int, flat: RowArray, filled: int) -> int:
    """Write a row for each bit, the lowest `most`; return where they end."""
    last = filled + most
    for word in range(len(words)):
        bits = words[word]
        while bits and filled < last:
            flat[filled] = first + word * WORD_BITS + lowest_bit(bits)
            bits &= bits - np.uint64(1)
            filled += 1
    return filled


@kernel
def _write_ahead(
    time: int, rows: PositionRows, state: SongStates, flat: RowArray, filled: int
) -> int:
    """Write what begins in the finished tracks, what sounds after their next change, and when."""
    filled = _write_bits(state.beginning[time], rows.begins, MOST_SOUNDING, flat, filled)
    change = time + 1
    while change < rows.times and not _changes(change, state):
        change += 1
    if change == rows.times:  # nothing is known to come
        flat[filled] = rows.wait
        return filled + 1
    filled = _write_bits(state.sounding[change], rows.after, MOST_SOUNDING, flat, filled)
    flat[filled] = rows.wait + min(change - time, rows.waits - 1)
    return filled + 1


@kernel
def _changes(step: int, state: SongStates) -> bool:
    """Tell whether a note of the finished tracks begins or ends at a step."""
    for word in range(SOUND_WORDS):
        if state.beginning[step, word] or (
            state.sounding[step, word] != state.sounding[step - 1, word]
        ):
            return True
    return False


@kernel
def _write_motion(
    time: int, rows: PositionRows, state: SongStates, flat: RowArray, filled: int
) -> int:
    """Write the last pitch, and those that it would reach in parallel with finished tracks."""
    cells = state.cells
    if not cells[at.LAST]:
        return filled
    last = cells[at.LAST] - 1
    flat[filled] = rows.last + last
    filled += 1
    if time == 0 or cells[at.LAST_END] != time:
        return filled
    filled = _write_parallels(last, FIFTH_SEMITONES, rows.fifths, time, state, flat, filled)
    return _write_parallels(last, 0, rows.octaves, time, state, flat, filled)


@kernel
def _write_parallels(
    last: int, interval: int, first: int, time: int, state: SongStates, flat: RowArray, filled: int
) -> int:
    """Write a row for each pitch at an interval from a class whose only pitch moves now."""
    begin = filled
    for part in range(CLASSES):
        before, now = _only_pitch(part, time - 1, state), _only_pitch(part, time, state)
        moves = min(before, now) != SILENT and before != now and part != DRUM_CLASS
        row = first + last + now - before
        together = moves and abs(last - before) % OCTAVE_SEMITONES == interval
        known = not together or not 0 <= row - first < PITCHES
        # Rows are added up: one that two classes give counts once.
        for written in range(begin, filled):
            known = known or flat[written] == row
        if not known:
            flat[filled] = row
            filled += 1
    return filled


@kernel
def _only_pitch(part: int, step: int, state: SongStates) -> int:
    """Return the one pitch of a class that sounds at a step, SILENT where none or several do."""
    pitch = SILENT
    for word in range(PITCH_WORDS):
        bits = state.sounding[step, part * PITCH_WORDS + word]
        if bits:
            if pitch != SILENT or bits & (bits - np.uint64(1)):
                return SILENT
            pitch = word * WORD_BITS + lowest_bit(bits)
    return pitch


@kernel
def _write_bounds(
    time: int, rows: PositionRows, state: SongStates, flat: RowArray, filled: int
) -> int:
    """Write the pitches between which a voice stays that does not cross a finished one."""
    voice = _sound_class(state.cells[at.INSTRUMENT] - 1)
    if voice < FIRST_VOICE:
        return filled
    above, below = PITCHES, SILENT
    for word in range(FIRST_VOICE * PITCH_WORDS, SOUND_WORDS):
        other, bits = word // PITCH_WORDS, state.sounding[time, word]
        while bits:
            pitch = word % PITCH_WORDS * WORD_BITS + lowest_bit(bits)
            bits &= bits - np.uint64(1)
            above = min(above, pitch) if other < voice else above
            below = max(below, pitch) if other > voice else below
    if above < PITCHES:
        flat[filled] = rows.above + above
        filled += 1
    if below != SILENT:
        flat[filled] = rows.below + below
        filled += 1
    return filled
