"""Find what each channel of a MIDI file plays, compiled: programmes, banks, rhythm parts.

A channel belongs to a port, and to no track chunk: what one chunk sets holds for the notes of all,
from the tick where it is set. Of settings at one tick a chunk's own count before those of others.
Most files set a channel where they play it, so a file is read chunk by chunk; where chunks turn
out to share a channel, it is read once more, and `foreign` hands each chunk the settings of others.

Drums are what channel 10 plays, and what a file marks as drums elsewhere:

| standard | mark                                                                            |
|----------|---------------------------------------------------------------------------------|
| GM2      | bank 120 (controller 0), then a programme                                        |
| XG       | bank 126 or 127, then a programme, but for files that set up a GS device alone;  |
|          | or the part's mode (SysEx 43 1n 4C 08 pp 07)                                     |
| GS       | the part used for rhythm (SysEx 41 nn 42 12 40 1p 15); off makes it melodic      |
"""

import numpy as np
import numpy.typing as npt

from megatron_music.score.jit import kernel, wide
from megatron_music.score.midi_columns import (
    CHANGE_CHANNEL,
    CHANGE_CHUNK,
    CHANGE_KIND,
    CHANGE_TICK,
    CHANGE_VALUE,
    DRUM_CHANNEL,
    Bytes,
    Columns,
)

PROGRAM, BANK, RHYTHM = 0, 1, 2
"""Kinds of changes."""

DRUM_BIT, SOUND_BITS = 0x80, 8
"""A sound is a programme, with DRUM_BIT if it is a drum kit."""

CHANNELS, MOST_LOCALS, PORTS = 16, 4096, 16
"""Port 16 counts as port 0. MOST_LOCALS tracks in one chunk: a track is what a channel plays with
one sound in it."""

OPEN, LATEST = 0, CHANNELS * 128
_SOUNDS = LATEST + CHANNELS * 128
_BANKS, _BANKED, _RHYTHM, CURRENT = (_SOUNDS + CHANNELS * i for i in range(1, 5))
_NEXT_CHANGE = CURRENT + CHANNELS
_PORT_CELLS = _NEXT_CHANGE + 1 - _SOUNDS
_KEPT = _NEXT_CHANGE + 1
_KEPT_IN = _KEPT + PORTS * _PORT_CELLS
_FIRST_CHUNKS = _KEPT_IN + PORTS
_ONLY_SOUNDS = _FIRST_CHUNKS + PORTS * CHANNELS
KEYS = _ONLY_SOUNDS + PORTS * CHANNELS
RANKS, COUNTS, STATE = (KEYS + MOST_LOCALS * i for i in range(1, 4))
WORK_CELLS = STATE + 16
"""The number of int32 cells of scratch memory; the names above are places in it."""

METRES, VOICE, LOCALS, CHUNK, PORT, SHARED, CHANGES, CONTROLS, ENDED, PLACE, _DEVICE = range(
    STATE, STATE + 11
)
"""Cells of state. SHARED: 1 if changes of one chunk hold for the others as well."""

_GS_RESET, _XG_ON, _XG_BANK = 1, 2, 4
"""Bits of _DEVICE: what a file has shown of the device that it is for."""

ENDLESS = 2**31 - 1
_PLACE_BITS = 32
_NONE, _SEVERAL = -1, -2
_GM2_DRUMS, _XG_DRUMS = 120, (126, 127)


@kernel
def _fill(work: Columns, first: int, last: int, value: int) -> None:
    for cell in range(first, last):  # a slice takes ten times as long to compile
        work[cell] = value


@kernel
def _copy(work: Columns, first: int, last: int, target: int) -> None:
    for cell in range(first, last):
        work[target + cell - first] = work[cell]


@kernel
def new_file(work: Columns) -> None:
    """Reset the state of all channels for a new file."""
    _fill(work, _FIRST_CHUNKS, KEYS, _NONE)
    _fill(work, STATE, WORK_CELLS, 0)


@kernel
def new_pass(work: Columns) -> None:
    """Reset the counts for a pass over the chunks of a file; there may be two."""
    _fill(work, _KEPT_IN, _FIRST_CHUNKS, _NONE)
    work[METRES] = work[CHANGES] = work[CONTROLS] = 0


@kernel
def new_chunk(chunk: int, work: Columns) -> None:
    """Reset the state of a chunk, and begin on port 0."""
    _fill(work, OPEN, _SOUNDS, _NONE)
    work[CHUNK] = chunk
    work[LOCALS] = work[ENDED] = work[VOICE] = work[PORT] = 0
    _new_port(work)


@kernel
def _new_port(work: Columns) -> None:
    """Reset the channels of a port."""
    _fill(work, _SOUNDS, CURRENT, 0)
    work[_SOUNDS + DRUM_CHANNEL] = DRUM_BIT
    work[_RHYTHM + DRUM_CHANNEL] = 1
    _fill(work, CURRENT, CURRENT + CHANNELS, _NONE)
    work[_NEXT_CHANGE] = 0


@kernel
def change_port(port: int, work: Columns) -> None:
    """Switch the chunk to the channels of another port, as it left them."""
    before, chunk = wide(work[PORT]), work[CHUNK]
    _copy(work, _SOUNDS, _NEXT_CHANGE + 1, _KEPT + before * _PORT_CELLS)
    work[_KEPT_IN + before] = chunk
    work[PORT] = port
    if work[_KEPT_IN + port] == chunk:
        kept = _KEPT + port * _PORT_CELLS
        _copy(work, kept, kept + _PORT_CELLS, _SOUNDS)
    else:
        _new_port(work)


@kernel
def local_track(channel: int, work: Columns) -> int:
    """Return the number, within the chunk, of a channel's sound; negative if there are too many."""
    sound = wide(work[_SOUNDS + channel])
    key = (work[PORT] * CHANNELS + channel) << SOUND_BITS | sound
    count = wide(work[LOCALS])
    # A chunk plays one or two sounds: a search is faster than a table to be cleared each time.
    for local in range(count):
        if work[KEYS + local] == key:
            return local
    if count >= MOST_LOCALS:
        return -1
    _use(channel, sound, work)
    work[KEYS + count] = key
    work[LOCALS] = count + 1
    return count


@kernel
def _use(channel: int, sound: int, work: Columns) -> None:
    """Note the chunk and sound that use a channel; chunks with several sounds share it."""
    cell = work[PORT] * CHANNELS + channel
    chunk = work[CHUNK]
    before, only = work[_FIRST_CHUNKS + cell], work[_ONLY_SOUNDS + cell]
    if before == _NONE:
        work[_FIRST_CHUNKS + cell], work[_ONLY_SOUNDS + cell] = chunk, sound
        return
    if before != chunk:
        work[_FIRST_CHUNKS + cell] = before = _SEVERAL
    if only != sound:
        work[_ONLY_SOUNDS + cell] = only = _SEVERAL
    if before == _SEVERAL and only == _SEVERAL:
        work[SHARED] = 1


@kernel
def change(kind: int, channel: int, value: int, tick: int, changes: Columns, work: Columns) -> bool:
    """Note a setting that this chunk makes; False where there is no room for it."""
    count = wide(work[CHANGES])
    if count >= changes.shape[1]:
        return False
    changes[CHANGE_TICK, count], changes[CHANGE_CHUNK, count] = tick, work[CHUNK]
    changes[CHANGE_CHANNEL, count] = work[PORT] * CHANNELS + channel
    changes[CHANGE_KIND, count], changes[CHANGE_VALUE, count] = kind, value
    work[CHANGES] = count + 1
    _set(kind, channel, value, work)
    if kind != BANK:
        _use(channel, wide(work[_SOUNDS + channel]), work)
    elif value == _GM2_DRUMS or value in _XG_DRUMS:  # another chunk may set its programme
        _use(channel, _SEVERAL, work)
        if value in _XG_DRUMS:
            _learn(_XG_BANK, work)
    return True


@kernel
def _learn(fact: int, work: Columns) -> None:
    """Note the device that a file names; if that is late, the file is read again."""
    if not work[_DEVICE] & fact:
        work[_DEVICE] |= fact
        # A bank met before the device was known may have been taken for the wrong one.
        work[SHARED] |= work[_DEVICE] > _XG_BANK


@kernel
def _set(kind: int, channel: int, value: int, work: Columns) -> None:
    if kind == BANK:  # counts from the next programme on
        work[_BANKS + channel] = value
        return
    program = work[_SOUNDS + channel] & 0x7F
    if kind == PROGRAM:
        program, bank = value, work[_BANKS + channel]
        only_gs = work[_DEVICE] & (_GS_RESET | _XG_ON) == _GS_RESET  # its bank 127 is an MT-32
        in_xg = bank in _XG_DRUMS and not only_gs
        work[_BANKED + channel] = bank == _GM2_DRUMS or in_xg
    else:
        work[_RHYTHM + channel] = value
    drums = work[_RHYTHM + channel] + work[_BANKED + channel] > 0
    sound = program | DRUM_BIT if drums else program
    if sound != work[_SOUNDS + channel]:
        work[_SOUNDS + channel] = sound
        work[CURRENT + channel] = _NONE


@kernel
def foreign(tick: int, changes: Columns, order: npt.NDArray[np.int64], work: Columns) -> int:
    """Apply the changes of other chunks up to a tick, in order; return the tick of the next."""
    chunk, port, place = work[CHUNK], work[PORT], wide(work[_NEXT_CHANGE])
    while place < len(order) and changes[CHANGE_TICK, order[place]] <= tick:
        i = order[place]
        place += 1
        cell = wide(changes[CHANGE_CHANNEL, i])
        if cell // CHANNELS == port and changes[CHANGE_CHUNK, i] != chunk:
            _set(
                wide(changes[CHANGE_KIND, i]), cell % CHANNELS, wide(changes[CHANGE_VALUE, i]), work
            )
    work[_NEXT_CHANGE] = place
    return wide(changes[CHANGE_TICK, order[place]]) if place < len(order) else ENDLESS


@kernel
def ordered(changes: Columns, count: int) -> npt.NDArray[np.int64]:
    """Return the order of changes by time; at one tick, that of the file."""
    # A heap of tick and place in one number, so that equal ticks keep their order.
    heap = np.empty(count, np.int64)
    for i in range(count):
        heap[i] = wide(changes[CHANGE_TICK, i]) << _PLACE_BITS | i
    for root in range(count // 2 - 1, -1, -1):
        _sink(heap, root, count)
    for size in range(count - 1, 0, -1):
        heap[0], heap[size] = heap[size], heap[0]
        _sink(heap, 0, size)
    for i in range(count):
        heap[i] &= (1 << _PLACE_BITS) - 1
    return heap


@kernel
def _sink(heap: npt.NDArray[np.int64], root: int, size: int) -> None:
    """Move a number down the heap until both numbers below it are at most as large."""
    while 2 * root + 1 < size:
        below = 2 * root + 1
        if below + 1 < size and heap[below + 1] > heap[below]:
            below += 1
        if heap[root] >= heap[below]:
            return
        heap[root], heap[below] = heap[below], heap[root]
        root = below


@kernel
def exclusive(data: Bytes, at: int, end: int, tick: int, changes: Columns, work: Columns) -> bool:
    """Note what system exclusive data set; False where there is no room for it."""
    size = end - at
    if size >= 8 and data[at] == 0x41 and data[at + 2] == 0x42 and data[at + 3] == 0x12:
        high, block, low = wide(data[at + 4]), wide(data[at + 5]), wide(data[at + 6])
        if high == 0x40 and block == 0 and low == 0x7F:
            _learn(_GS_RESET, work)
        elif high == 0x40 and block & 0xF0 == 0x10 and low == 0x15:
            part = block & 15  # blocks count parts from 1, but the tenth part is block 0
            channel = DRUM_CHANNEL if part == 0 else part - (part <= DRUM_CHANNEL)
            return change(RHYTHM, channel, wide(data[at + 7] > 0), tick, changes, work)
    if size >= 7 and data[at] == 0x43 and data[at + 1] & 0xF0 == 0x10 and data[at + 2] == 0x4C:
        high, part, low = wide(data[at + 3]), wide(data[at + 4]), wide(data[at + 5])
        if high == 0 and part == 0 and low == 0x7E:
            _learn(_XG_ON, work)
        elif high == 0x08 and part < CHANNELS and low == 0x07:
            return change(RHYTHM, part, wide(data[at + 6] > 0), tick, changes, work)
    return True
