"""Structural inputs, compiled: of whole documents and of songs that are being written.

`structure.py` says what the rows mean. The tokens of a song are taken one after another by
`structure_state_kernel`; the rows of each are written one after the other, then spread into a
rectangle.
"""

import numpy as np
import numpy.typing as npt

from megatron_music.score.compiled import kernel, lowest_bit
from megatron_music.score.hashing import Words
from megatron_music.score.notes import IntArray
from megatron_music.tokenizer.structure import (
    CLASSES,
    PLACES,
    SUNG,
    TRACKS,
    PositionRows,
    RowArray,
)
from megatron_music.tokenizer.structure_state_kernel import (
    BAR,
    DRUM_CLASS,
    FIRST_VOICE,
    INDEX,
    LAST,
    LAST_END,
    PART,
    PITCH_WORDS,
    SILENT,
    SOUND_WORDS,
    SYLLABLE_PLACE,
    TIME,
    TRACK,
    WORD_BITS,
    States,
    reset,
    sound_class,
    state_of,
    take,
)
from megatron_music.tokenizer.token_kinds import TokenTable
from megatron_music.tokenizer.vocabulary import PITCHES

MOST_SOUNDING = 60
MOST_HELD = 16
MOST_PARALLELS = CLASSES
MOST_ROWS = 3 * MOST_SOUNDING + MOST_HELD + 2 * MOST_PARALLELS + 10
"""The lists, and time, track, wait, syllable, both places and bounds, instrument, last pitch."""

FIFTH, OCTAVE = 7, 12
"""Semitones."""


@kernel
def walk_documents(
    tokens: IntArray,
    starts: IntArray,
    places: IntArray,
    is_plain: npt.NDArray[np.bool_],
    rows: PositionRows,
    table: TokenTable,
    states: States,
) -> RowArray:
    """Return the rows of whole documents; see `structure.document_rows`.

    `states` are of one song, which each document begins anew.
    """
    state = state_of(states, 0)
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
            reset(state, rows)
            flat = _with_room(flat, filled, (last - first) * MOST_ROWS)
            filled = _walk(part, places[document], rows, table, state, flat, filled, number)
    return _spread(flat, counts, rows.total)


@kernel
def walk_songs(
    tokens: IntArray, places: IntArray, rows: PositionRows, table: TokenTable, states: States
) -> RowArray:
    """Move songs past tokens [songs, n]; return their rows, song after song, [songs * n, most]."""
    songs, length = tokens.shape
    counts = np.zeros(songs * length, np.int64)
    flat = np.empty(songs * length * MOST_ROWS, np.int32)
    filled = 0
    for song in range(songs):
        number = counts[song * length : (song + 1) * length]
        state = state_of(states, song)
        filled = _walk(tokens[song], places[song], rows, table, state, flat, filled, number)
    return _spread(flat, counts, rows.total)


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
    state: States,
    flat: RowArray,
    filled: int,
    counts: IntArray,
) -> int:
    """Take tokens, write their rows to `flat` from `filled` on; return where they end."""
    for position in range(len(tokens)):
        token = tokens[position]
        if 0 <= token < len(table.kinds):
            take(table.kinds[token], table.values[token], rows, state)
        written = _write(place, rows, state, flat, filled)
        counts[position] = written - filled
        filled = written
    return filled


@kernel
def _write(  # noqa: C901 (a group of rows after the other)
    place: IntArray, rows: PositionRows, state: States, flat: RowArray, filled: int
) -> int:
    """Write the rows that describe a song's state; return where they end."""
    cells = state.cells
    time = min(cells[TIME], rows.times - 1)
    flat[filled] = min(cells[INDEX], rows.seq_length - 1) if rows.time < 0 else rows.time + time
    cells[INDEX] += 1
    filled += 1
    if rows.track >= 0:
        flat[filled] = rows.track + min(cells[TRACK], TRACKS - 1)
        filled += 1
    if rows.sung >= 0 and cells[SYLLABLE_PLACE]:
        flat[filled] = rows.sung + min(cells[SYLLABLE_PLACE], SUNG) - 1
        filled += 1
    if rows.instrument >= 0 and cells[PART]:
        flat[filled] = rows.instrument + cells[PART] - 1
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
        flat[filled] = rows.since_begin + min(before + cells[BAR], PLACES - 1)
        filled += 1
        if bars >= 0:
            left = max(bars - 1 - before - cells[BAR], 0)
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
def _write_ahead(time: int, rows: PositionRows, state: States, flat: RowArray, filled: int) -> int:
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
def _changes(step: int, state: States) -> bool:
    """Tell whether a note of the finished tracks begins or ends at a step."""
    for word in range(SOUND_WORDS):
        if state.beginning[step, word] or (
            state.sounding[step, word] != state.sounding[step - 1, word]
        ):
            return True
    return False


@kernel
def _write_motion(time: int, rows: PositionRows, state: States, flat: RowArray, filled: int) -> int:
    """Write the last pitch, and those that it would reach in parallel with finished tracks."""
    cells = state.cells
    if not cells[LAST]:
        return filled
    last = cells[LAST] - 1
    flat[filled] = rows.last + last
    filled += 1
    if time == 0 or cells[LAST_END] != time:
        return filled
    filled = _write_parallels(last, FIFTH, rows.fifths, time, state, flat, filled)
    return _write_parallels(last, 0, rows.octaves, time, state, flat, filled)


@kernel
def _write_parallels(
    last: int, interval: int, first: int, time: int, state: States, flat: RowArray, filled: int
) -> int:
    """Write a row for each pitch at an interval from a class whose only pitch moves now."""
    begin = filled
    for part in range(CLASSES):
        before, now = _only_pitch(part, time - 1, state), _only_pitch(part, time, state)
        moves = min(before, now) != SILENT and before != now and part != DRUM_CLASS
        row = first + last + now - before
        together = moves and abs(last - before) % OCTAVE == interval
        known = not together or not 0 <= row - first < PITCHES
        # Rows are added up: one that two classes give counts once.
        for written in range(begin, filled):
            known = known or flat[written] == row
        if not known:
            flat[filled] = row
            filled += 1
    return filled


@kernel
def _only_pitch(part: int, step: int, state: States) -> int:
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
def _write_bounds(time: int, rows: PositionRows, state: States, flat: RowArray, filled: int) -> int:
    """Write the pitches between which a voice stays that does not cross a finished one."""
    voice = sound_class(state.cells[PART] - 1)
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
