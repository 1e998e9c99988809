"""Structural inputs, compiled: one state machine for whole documents and for songs on their way.

`structure.py` says what the rows mean. A song is a row of `States`; its tokens are taken one after
another, and the rows of each are written one behind the other, then spread into a rectangle.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.score.compiled import kernel, lowest_bit
from megatron_music.score.hashing import Words
from megatron_music.score.instruments import DRUMS
from megatron_music.score.notes import IntArray
from megatron_music.tokenizer.structure import (
    BAR_END,
    CLASSES,
    FILL_IN,
    FILL_START,
    INSTRUMENT,
    METRE,
    NOTE_OFF,
    NOTE_ON,
    NOTHING,
    PLACES,
    TIME_DELTA,
    TRACK_END,
    TRACK_START,
    TRACKS,
    Actions,
    PositionRows,
    RowArray,
)
from megatron_music.tokenizer.vocabulary import PITCHES

MOST_SOUNDING = 60
MOST_HELD = 16
DRUM_CLASS, FIRST_VOICE = 1, 2
MOST_PARALLELS = CLASSES
MOST_ROWS = 3 * MOST_SOUNDING + MOST_HELD + 2 * MOST_PARALLELS + 9
"""Time, track, wait, both places and bounds, instrument and last pitch beside the lists."""

FIFTH, OCTAVE = 7, 12
"""Semitones."""

SILENT = -1
"""What stands for no onset, and for no end that is known."""

INDEX, TIME, BAR, TRACK, PART, HIDDEN, FILLED, LOW, HIGH, LAST, LAST_END = range(11)
START, STEPS, HEAD_STEPS = range(11, 14)
_COLUMNS = 14
_FILL_COLUMNS = 5
_WORD_BITS = 64
_PITCH_WORDS = PITCHES // _WORD_BITS
_SOUND_WORDS = CLASSES * _PITCH_WORDS


class States(NamedTuple):
    """Where songs stand; the first index is the song's.

    `cells` [songs, columns]; `onsets` and `cuts` [songs, 128]: where open notes began, and the
    first hidden bar behind that; `held` [songs, 2]: bits of the open notes' pitches, as far as no
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
        held=np.zeros((songs, _PITCH_WORDS), np.uint64),
        fills=np.zeros((songs, rows.seq_length, _FILL_COLUMNS), np.int64),
        playing=np.zeros((songs, rows.times, _PITCH_WORDS), np.uint64),
        striking=np.zeros((songs, rows.times, _PITCH_WORDS), np.uint64),
        sounding=np.zeros((songs, rows.times, _SOUND_WORDS), np.uint64),
        beginning=np.zeros((songs, rows.times, _SOUND_WORDS), np.uint64),
    )
    states.cells[:, LOW] = rows.times
    states.cells[:, STEPS] = states.cells[:, HEAD_STEPS] = rows.common_bar
    return states


@kernel
def walk_documents(
    tokens: IntArray,
    starts: IntArray,
    places: IntArray,
    is_plain: npt.NDArray[np.bool_],
    rows: PositionRows,
    actions: Actions,
) -> RowArray:
    """Return the rows of whole documents; see `structure.document_rows`."""
    state = _first_state(rows)
    counts = np.zeros(len(tokens), np.int64)
    flat = np.empty(MOST_ROWS + 8 * len(tokens), np.int32)
    filled = 0
    for document in range(len(starts) - 1):
        first, last = starts[document], starts[document + 1]
        part, number = tokens[first:last], counts[first:last]
        if is_plain[document]:
            flat = _with_room(flat, filled, last - first)
            for place in range(last - first):
                flat[filled] = min(place, rows.seq_length - 1)
                number[place] = 1
                filled += 1
        else:
            _reset(state, rows)
            flat = _with_room(flat, filled, (last - first) * MOST_ROWS)
            filled = _walk(part, places[document], rows, actions, state, flat, filled, number)
    return _spread(flat, counts, rows.total)


@kernel
def walk_songs(
    tokens: IntArray, places: IntArray, rows: PositionRows, actions: Actions, states: States
) -> RowArray:
    """Move songs past tokens [songs, n]; return their rows, song after song, [songs * n, most]."""
    songs, length = tokens.shape
    counts = np.zeros(songs * length, np.int64)
    flat = np.empty(songs * length * MOST_ROWS, np.int32)
    filled = 0
    for song in range(songs):
        number = counts[song * length : (song + 1) * length]
        state = _state_of(states, song)
        filled = _walk(tokens[song], places[song], rows, actions, state, flat, filled, number)
    return _spread(flat, counts, rows.total)


class State(NamedTuple):
    """One song of `States`."""

    cells: IntArray
    onsets: IntArray
    cuts: IntArray
    held: Words
    fills: IntArray
    playing: Words
    striking: Words
    sounding: Words
    beginning: Words


@kernel
def _state_of(states: States, song: int) -> State:
    return State(
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
def _first_state(rows: PositionRows) -> State:
    return State(
        np.zeros(_COLUMNS, np.int64),
        np.zeros(PITCHES, np.int64),
        np.zeros(PITCHES, np.int64),
        np.zeros(_PITCH_WORDS, np.uint64),
        np.zeros((rows.seq_length, _FILL_COLUMNS), np.int64),
        np.zeros((rows.times, _PITCH_WORDS), np.uint64),
        np.zeros((rows.times, _PITCH_WORDS), np.uint64),
        np.zeros((rows.times, _SOUND_WORDS), np.uint64),
        np.zeros((rows.times, _SOUND_WORDS), np.uint64),
    )


@kernel
def _reset(state: State, rows: PositionRows) -> None:
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
    actions: Actions,
    state: State,
    flat: RowArray,
    filled: int,
    counts: IntArray,
) -> int:
    """Take tokens, write their rows to `flat` from `filled` on; return where they end."""
    for position in range(len(tokens)):
        token = tokens[position]
        if 0 <= token < len(actions.codes):
            _take(actions.codes[token], actions.values[token], rows, state)
        written = _write(place, rows, state, flat, filled)
        counts[position] = written - filled
        filled = written
    return filled


@kernel
def _take(code: int, value: int, rows: PositionRows, state: State) -> None:
    """Move a song past a token."""
    cells = state.cells
    if code == NOTE_ON:
        state.onsets[value] = cells[TIME]
        state.cuts[value] = SILENT
        state.held[value // _WORD_BITS] |= _bit(value)
    elif code == NOTE_OFF:
        onset = state.onsets[value]
        begins = cells[START] if onset == SILENT else onset
        _sound(value, begins, cells[TIME], rows, state)
        state.onsets[value] = SILENT
        state.held[value // _WORD_BITS] &= ~_bit(value)
        cells[LAST], cells[LAST_END] = value + 1, cells[TIME]
    elif code == TIME_DELTA:
        cells[TIME] += value
    elif code == BAR_END:
        _next_bar(cells)
    elif code == TRACK_START:
        cells[BAR] = cells[TIME] = cells[PART] = cells[LAST] = cells[START] = 0
        cells[STEPS] = cells[HEAD_STEPS]
        cells[TRACK] += 1
    elif code == INSTRUMENT:
        cells[PART] = value + 1
    elif code == METRE:
        cells[STEPS] = value
        if cells[TRACK] == 0:
            cells[HEAD_STEPS] = value
    elif code != NOTHING:
        _take_mark(code, rows, state)


@kernel
def _next_bar(cells: IntArray) -> None:
    cells[BAR] += 1
    cells[START] += cells[STEPS]
    cells[TIME] = cells[START]


@kernel
def _take_mark(code: int, rows: PositionRows, state: State) -> None:
    cells = state.cells
    if code == FILL_IN:
        _hide_bar(state)
    elif code == FILL_START:
        if cells[FILLED] < cells[HIDDEN]:
            fill = state.fills[cells[FILLED]]
            cells[BAR], cells[TRACK], cells[PART] = fill[0], fill[1], fill[2]
            cells[TIME] = cells[START] = fill[3]
            cells[STEPS] = fill[4]
            cells[FILLED] += 1
    else:
        ends = cells[TIME] if code == TRACK_END else cells[START] + cells[STEPS]
        _finish(ends, rows, state)
        cells[BAR] = cells[TIME] = cells[LAST] = cells[START] = 0
        cells[STEPS] = cells[HEAD_STEPS]


@kernel
def _hide_bar(state: State) -> None:
    """Pass a hidden bar; what sounds into it is known to sound up to it."""
    cells = state.cells
    if cells[HIDDEN] < len(state.fills):
        fill = state.fills[cells[HIDDEN]]
        fill[0], fill[1], fill[2] = cells[BAR], cells[TRACK], cells[PART]
        fill[3], fill[4] = cells[START], cells[STEPS]
        cells[HIDDEN] += 1
    for pitch in range(PITCHES):
        if state.onsets[pitch] != SILENT and state.cuts[pitch] == SILENT:
            state.cuts[pitch] = cells[START]
    state.held[:] = 0
    cells[LAST] = 0
    _next_bar(cells)


@kernel
def sound_class(instrument: int) -> int:
    """Return 0 for a General MIDI program, 1 for drums, 2 to 5 for the voices from the highest."""
    return max(0, instrument - DRUMS + DRUM_CLASS)


@kernel
def _bit(pitch: int) -> np.uint64:
    return np.uint64(1) << np.uint64(pitch % _WORD_BITS)


@kernel
def _sound(pitch: int, begins: int, ends: int, rows: PositionRows, state: State) -> None:
    """Let a pitch of the unfinished track sound; in the last row of time nothing ever does."""
    ends = min(ends, rows.times - 1)
    word, bit = pitch // _WORD_BITS, _bit(pitch)
    for step in range(begins, ends):
        state.playing[step, word] |= bit
    if begins < ends:
        state.striking[begins, word] |= bit
        state.cells[LOW] = min(state.cells[LOW], begins)
        state.cells[HIGH] = max(state.cells[HIGH], ends)


@kernel
def _finish(ends: int, rows: PositionRows, state: State) -> None:
    """Let a track or a hidden bar join what sounds; notes without an end sound as far as known."""
    cells = state.cells
    for pitch in range(PITCHES):
        if state.onsets[pitch] != SILENT:
            cut = ends if state.cuts[pitch] == SILENT else state.cuts[pitch]
            _sound(pitch, state.onsets[pitch], cut, rows, state)
            state.onsets[pitch] = SILENT
    state.held[:] = 0
    first = sound_class(cells[PART] - 1) * _PITCH_WORDS
    for step in range(cells[LOW], cells[HIGH]):
        for word in range(_PITCH_WORDS):
            state.sounding[step, first + word] |= state.playing[step, word]
            state.beginning[step, first + word] |= state.striking[step, word]
            state.playing[step, word] = state.striking[step, word] = 0
    cells[LOW], cells[HIGH] = rows.times, 0


@kernel
def _write_bits(words: Words, first: int, most: int, flat: RowArray, filled: int) -> int:
    """Write a row for each bit, the lowest `most`; return where they end."""
    last = filled + most
    for word in range(len(words)):
        bits = words[word]
        while bits and filled < last:
            flat[filled] = first + word * _WORD_BITS + lowest_bit(bits)
            bits &= bits - np.uint64(1)
            filled += 1
    return filled


@kernel
def _write_ahead(time: int, rows: PositionRows, state: State, flat: RowArray, filled: int) -> int:
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
def _changes(step: int, state: State) -> bool:
    """Tell whether a note of the finished tracks begins or ends at a step."""
    for word in range(_SOUND_WORDS):
        if state.beginning[step, word] or (
            state.sounding[step, word] != state.sounding[step - 1, word]
        ):
            return True
    return False


@kernel
def _write_motion(time: int, rows: PositionRows, state: State, flat: RowArray, filled: int) -> int:
    """Write the last pitch and where parallels with the finished tracks would lead from it."""
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
    last: int, interval: int, first: int, time: int, state: State, flat: RowArray, filled: int
) -> int:
    """Write a row for each pitch that keeps an interval to a class whose one pitch moves now."""
    begin = filled
    for part in range(CLASSES):
        before, now = _only_pitch(part, time - 1, state), _only_pitch(part, time, state)
        moves = min(before, now) != SILENT and before != now and part != DRUM_CLASS
        row = first + last + now - before
        together = moves and abs(last - before) % OCTAVE == interval
        known = not together or not 0 <= row - first < PITCHES
        for written in range(begin, filled):
            known = known or flat[written] == row
        if not known:
            flat[filled] = row
            filled += 1
    return filled


@kernel
def _only_pitch(part: int, step: int, state: State) -> int:
    """Return the one pitch of a class that sounds at a step, SILENT where none or several do."""
    pitch = SILENT
    for word in range(_PITCH_WORDS):
        bits = state.sounding[step, part * _PITCH_WORDS + word]
        if bits:
            if pitch != SILENT or bits & (bits - np.uint64(1)):
                return SILENT
            pitch = word * _WORD_BITS + lowest_bit(bits)
    return pitch


@kernel
def _write_bounds(time: int, rows: PositionRows, state: State, flat: RowArray, filled: int) -> int:
    """Write the pitches between which a voice stays that does not cross a finished one."""
    voice = sound_class(state.cells[PART] - 1)
    if voice < FIRST_VOICE:
        return filled
    above, below = PITCHES, SILENT
    for word in range(FIRST_VOICE * _PITCH_WORDS, _SOUND_WORDS):
        other, bits = word // _PITCH_WORDS, state.sounding[time, word]
        while bits:
            pitch = word % _PITCH_WORDS * _WORD_BITS + lowest_bit(bits)
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


@kernel
def _write(place: IntArray, rows: PositionRows, state: State, flat: RowArray, filled: int) -> int:
    """Write the rows that describe a song's state; return where they end."""
    cells = state.cells
    time = min(cells[TIME], rows.times - 1)
    flat[filled] = min(cells[INDEX], rows.seq_length - 1) if rows.time < 0 else rows.time + time
    cells[INDEX] += 1
    filled += 1
    if rows.track >= 0:
        flat[filled] = rows.track + min(cells[TRACK], TRACKS - 1)
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
