"""One track chunk of a MIDI file to columns of notes, compiled: see `midi_kernel`."""

import numpy as np
import numpy.typing as npt

import megatron_music.score.channel_kernel as cells
from megatron_music.score.channel_kernel import (
    BANK,
    DRUM_BIT,
    ENDLESS,
    PROGRAM,
    change,
    change_port,
    exclusive,
    foreign,
    local_track,
)
from megatron_music.score.instruments import ALTO, BASS, CHOIR_PROGRAM, DRUMS, SOPRANO, TENOR
from megatron_music.score.jit import kernel, wide
from megatron_music.score.midi_columns import (
    BEND,
    CODE,
    CONTROL_CHANNEL,
    CONTROL_KIND,
    CONTROL_TICK,
    CONTROL_VALUE,
    CONTROLLER,
    COUNT,
    CUT,
    END,
    FOLLOWING,
    KEY,
    LATE,
    LONG_NUMBER,
    METRE_ROWS,
    NO_EVENT,
    NO_ROOM,
    NO_STATUS,
    ONSET,
    PITCH,
    TEMPO,
    TRACK,
    VELOCITY,
    Buffers,
    Bytes,
    Columns,
)

Cells = npt.NDArray[np.int32]

_LAST_TICK = ENDLESS - 1
_MOST_DOUBLINGS = 30
_NO_VOICE = 0
_MESSAGES = (0xF1, 0xF2, 0xF3, 0xF6, 0xF8, 0xFA, 0xFB, 0xFC, 0xFE)
_MESSAGE_BYTES = (2, 3, 2, 1, 1, 1, 1, 1, 1)
"""Messages between devices, which mean nothing in a file, and the bytes of each."""


@kernel
def _quantity(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """Read a number of one to four bytes; return it and the place after it, or a negative fault."""
    value = 0
    # The format allows four bytes; longer ones are damage, and would overflow.
    for place in range(at, min(at + 4, end)):
        byte = wide(data[place])
        value = (value << 7) | (byte & 0x7F)
        if byte < 0x80:
            return value, place + 1
    return 0, LONG_NUMBER if end - at >= 4 else CUT


@kernel
def number(data: Bytes, at: int, size: int) -> int:
    """Read a number of `size` bytes, the highest first."""
    value = 0
    for place in range(at, at + size):
        value = (value << 8) | wide(data[place])
    return value


@kernel
def _spells(data: Bytes, at: int, word: bytes) -> bool:
    """Tell whether the bytes at a place spell a word, given in capitals, in any case."""
    for i in range(len(word)):  # noqa: SIM110 (a generator is beyond a kernel)
        if (data[at + i] & 0xDF) != word[i]:
            return False
    return True


@kernel
def _voice(data: Bytes, at: int, end: int) -> int:
    """Return the voice that a track's name means, if it means one."""
    while at < end and (data[at] == 32 or 9 <= data[at] <= 13 or 28 <= data[at] <= 31):
        at += 1
    while at < end and (
        data[end - 1] == 32 or 9 <= data[end - 1] <= 13 or 28 <= data[end - 1] <= 31
    ):
        end -= 1
    if end - at == 7 and _spells(data, at, b"SOPRANO"):
        return SOPRANO
    if end - at == 4 and _spells(data, at, b"ALTO"):
        return ALTO
    if end - at == 5 and _spells(data, at, b"TENOR"):
        return TENOR
    if end - at == 4 and _spells(data, at, b"BASS"):
        return BASS
    return _NO_VOICE


@kernel
def _add_metre(data: Bytes, at: int, tick: int, metres: Columns, work: Columns) -> bool:
    """Insert a time signature, sorted by time; False if there is no room for it."""
    count = wide(work[cells.METRES])
    if count >= metres.shape[1]:
        return False
    # Other chunks may have given later ones already; there are few, so they are moved by hand.
    place = count
    while place > 0 and metres[0, place - 1] > tick:
        for row in range(METRE_ROWS):
            metres[row, place] = metres[row, place - 1]
        place -= 1
    metres[0, place] = tick
    metres[1, place] = data[at]
    metres[2, place] = 1 << min(wide(data[at + 1]), _MOST_DOUBLINGS)
    work[cells.METRES] = count + 1
    return True


@kernel
def _add_control(
    tick: int, channel: int, kind: int, value: int, controls: Columns, work: Columns
) -> bool:
    """Add an event that changes how notes sound, if these are read; False if there is no room."""
    count = wide(work[cells.CONTROLS])
    # Builds without velocities and tempi do not ask for them: no room, no work.
    if controls.shape[1] == 0:
        return True
    if count >= controls.shape[1]:
        return False
    controls[CONTROL_TICK, count], controls[CONTROL_KIND, count] = tick, kind
    controls[CONTROL_CHANNEL, count] = work[cells.PORT] * cells.CHANNELS + channel
    controls[CONTROL_VALUE, count] = value
    work[cells.CONTROLS] = count + 1
    return True


@kernel
def _meta(
    data: Bytes, at: int, end: int, tick: int, metres: Columns, controls: Columns, work: Columns
) -> int:
    """Read the meta event whose type is at `at`; return the place after it, or a fault."""
    if at + 2 > end:
        return CUT
    kind = data[at]
    size, body = _quantity(data, at + 1, end)
    if body < 0:
        return body
    if body + size > end:
        return CUT
    room = True
    if kind == 0x2F:
        # Bytes after the end of a track are not music, even within the size that the chunk states.
        work[cells.ENDED] = body + size
        return end
    if kind == 0x03:
        work[cells.VOICE] = _voice(data, body, body + size)
    elif kind == 0x21 and size >= 1:
        change_port(wide(data[body]) % cells.PORTS, work)
    elif kind == TEMPO and size >= 3:
        tempo = number(data, body, 3)
        room = _add_control(tick, 0, TEMPO, tempo, controls, work)
    elif kind == 0x58 and size >= 2:
        room = _add_metre(data, body, tick, metres, work)
    return body + size if room else NO_ROOM


@kernel
def _system(
    data: Bytes,
    at: int,
    end: int,
    tick: int,
    changes: Columns,
    metres: Columns,
    controls: Columns,
    work: Columns,
) -> int:
    """Read a meta event or a system message; return the place after it, or a fault."""
    status = wide(data[at])
    if status == 0xFF:
        return _meta(data, at + 1, end, tick, metres, controls, work)
    if status not in (0xF0, 0xF7):
        for i in range(len(_MESSAGES)):
            if status == _MESSAGES[i]:
                following = at + _MESSAGE_BYTES[i]
                return following if following <= end else CUT
        return NO_EVENT
    size, body = _quantity(data, at + 1, end)
    if body < 0:
        return body
    if body + size > end:
        return CUT
    room = exclusive(data, body, body + size, tick, changes, work)
    return body + size if room else NO_ROOM


@kernel
def _control(
    data: Bytes, at: int, status: int, tick: int, changes: Columns, controls: Columns, work: Columns
) -> bool:
    """Note what changes a channel's sound; False if there is no room for it."""
    kind, channel = status & 0xF0, status & 15
    first = min(wide(data[at]), 0x7F)
    if kind == 0xC0:
        return change(PROGRAM, channel, first, tick, changes, work)
    second = min(wide(data[at + 1]), 0x7F)
    if kind == CONTROLLER and first == 0:
        return change(BANK, channel, second, tick, changes, work)
    if kind in (CONTROLLER, BEND):
        value = first << 7 | second
        return _add_control(tick, channel, kind, value, controls, work)
    return True


# Between two notes `scan_chunk` calls no function that takes an array, not even an inlined one:
# that would count references, which takes a fifth of the time. The rarer calls take the arrays they
# need: all buffers would count six.
@kernel
def scan_chunk(  # noqa: C901, PLR0912 (one loop: see above)
    data: Bytes, at: int, end: int, count: int, order: npt.NDArray[np.int64], buffers: Buffers
) -> int:
    """Read a chunk and append its notes to the `count` before; return the number of all."""
    notes, _, metres, controls, changes, work = buffers
    owners, onsets, ends, pitches = notes[TRACK], notes[ONSET], notes[END], notes[PITCH]
    velocities, following = notes[VELOCITY], notes[FOLLOWING]
    opened, latest = work[cells.OPEN : cells.LATEST], work[cells.LATEST : 2 * cells.LATEST]
    current = work[cells.CURRENT : cells.CURRENT + cells.CHANNELS]
    next_change, port, tick, status = 0, work[cells.PORT], 0, 0
    while 0 <= at < end:
        work[cells.PLACE] = at
        delta, at = wide(data[at]), at + 1
        if delta >= 0x80:
            delta, at = _quantity(data, at - 1, end)
        if at < 0 or at >= end:
            return at if at < 0 else CUT
        tick += delta
        if tick >= next_change:
            # Checked here, since every tick that 32 bits do not hold comes this way.
            if tick > _LAST_TICK:
                return LATE
            next_change = foreign(tick, changes, order, work)
        byte = wide(data[at])
        if byte >= 0xF0:
            at = _system(data, at, end, tick, changes, metres, controls, work)
            if work[cells.PORT] != port:
                port, next_change = work[cells.PORT], 0
            continue
        status, at = (byte, at + 1) if byte >= 0x80 else (status, at)
        kind, channel, body = status & 0xF0, status & 15, at
        at += 1 if status & 0xE0 == 0xC0 else 2
        if status == 0 or at > end:
            return NO_STATUS if status == 0 else CUT
        if kind > 0x90:
            sets = kind == 0xC0 or controls.shape[1] > 0 or (kind == CONTROLLER and data[body] == 0)
            if sets and not _control(data, body, status, tick, changes, controls, work):
                return NO_ROOM
            continue
        pitch, velocity = min(wide(data[body]), 0x7F), min(wide(data[body + 1]), 0x7F)
        slot = channel << 7 | pitch
        oldest = wide(opened[slot])
        if kind == 0x80 or velocity == 0:
            # The oldest ends first, as synthesizers have it where one pitch sounds twice.
            if oldest >= 0:
                ends[oldest], opened[slot] = tick, following[oldest]
            continue
        if current[channel] < 0:
            current[channel] = local_track(channel, work)
        if current[channel] < 0 or count >= len(onsets):
            return NO_ROOM
        owners[count], onsets[count], ends[count] = current[channel], tick, -1
        pitches[count], velocities[count], following[count] = pitch, velocity, -1
        if oldest < 0:
            opened[slot] = count
        else:
            following[latest[slot]] = count
        latest[slot] = count
        count += 1
    return at if at < 0 else count


@kernel
def close_chunk(
    notes: Columns, first: int, count: int, tracks: Columns, track_count: int, work: Columns
) -> tuple[int, int]:
    """Drop the notes that never ended and number the tracks; return the number of both."""
    ranks, counts = work[cells.RANKS : cells.COUNTS], work[cells.COUNTS : cells.STATE]
    owners, ends = notes[TRACK], notes[END]
    counts[: work[cells.LOCALS]] = 0
    kept = first
    for i in range(first, count):
        if ends[i] >= 0:
            # Most files close all their notes: nothing is moved then.
            if kept < i:
                for row in range(FOLLOWING):
                    notes[row, kept] = notes[row, i]
            counts[owners[kept]] += 1
            kept += 1
    track_count = _number_tracks(tracks, track_count, work)
    for i in range(first, kept):
        owners[i] = ranks[owners[i]]
    return kept if track_count >= 0 else NO_ROOM, track_count


@kernel
def _number_tracks(tracks: Columns, track_count: int, work: Columns) -> int:
    """Append the chunk's tracks that have notes; return the number of all tracks, or NO_ROOM."""
    keys, ranks = work[cells.KEYS : cells.RANKS], work[cells.RANKS : cells.COUNTS]
    counts, local_count = work[cells.COUNTS : cells.STATE], work[cells.LOCALS]
    total = track_count
    for local in range(local_count):
        # Ports and channels in ascending order, not in that of their first notes.
        rank = track_count
        for other in range(local_count):
            rank += counts[other] > 0 and keys[other] < keys[local]
        ranks[local] = rank
        if counts[local] == 0:
            continue
        if rank >= tracks.shape[1]:
            return NO_ROOM
        program, voice = keys[local] & 0x7F, work[cells.VOICE]
        # The name of a chunk means a voice only where a choir plays: a BASS may be a guitar.
        code = voice if program == CHOIR_PROGRAM and voice != _NO_VOICE else program
        tracks[CODE, rank] = DRUMS if keys[local] & DRUM_BIT else code
        tracks[COUNT, rank] = counts[local]
        tracks[KEY, rank] = keys[local]
        total += 1
    return total
