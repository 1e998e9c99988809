"""The bytes of a MIDI file to columns of notes, compiled: the one reader of MIDI.

Every track chunk is one pass over its bytes. A note-on opens a note, a note-off ends the oldest
open note of its channel and pitch, and what is still open when the chunk ends is dropped. A track
is what one channel plays with one sound within one chunk (see `channel_kernel`). Tracks are sorted
by chunk, port, channel and sound; their notes are in the order of their note-ons.

Files that break the format are read as players read them:

- Running status stays valid after meta events and system exclusive data.
- All track chunks are read, even if the header counts fewer. Bytes after them that are not a chunk
  are ignored, as is a second file.
- A chunk that says it is longer than the file is read up to its end-of-track event; if it has
  none, the file is cut short.
- Bytes of data above 127 count as 127. Real-time and common messages, which belong on a cable, are
  passed over.
- RIFF chunks come in any order. Format 2 is read if one of its patterns alone has notes.
- Of tempos and time signatures of odd length, those too short are passed over.
"""

import numpy as np
import numpy.typing as npt

import megatron_music.score.channel_kernel as cells
from megatron_music.score.channel_kernel import (
    WORK_CELLS,
    new_chunk,
    new_file,
    new_pass,
    ordered,
)
from megatron_music.score.jit import kernel, wide
from megatron_music.score.midi_columns import (
    CHANGE_ROWS,
    CONTROL_ROWS,
    CUT,
    END,
    FOREIGN,
    FORMAT,
    FRAMES,
    HEADER,
    LONG,
    METRE_ROWS,
    MOST_CHANGES,
    MOST_METRES,
    MOST_TRACKS,
    NO_ROOM,
    NO_TICKS,
    NOTE_ROWS,
    PATTERNS,
    SILENT,
    TRACK_ROWS,
    Buffers,
    Bytes,
)
from megatron_music.score.track_kernel import close_chunk, number, scan_chunk

_HEADER_BYTES, _CHUNK_HEADER_BYTES, _RIFF_HEADER_BYTES = 14, 8, 12
_MTHD, _MTRK, _RIFF, _DATA = 0x4D546864, 0x4D54726B, 0x52494646, 0x64617461
_SEPARATE_PATTERNS = 2


def new_buffers(
    notes: int,
    tracks: int = MOST_TRACKS,
    metres: int = MOST_METRES,
    changes: int = MOST_CHANGES,
    controls: int = 0,
) -> Buffers:
    """Return buffers with room for these numbers of each."""
    # Not filled: the system gives pages of memory only when they are first written.
    return Buffers(
        notes=np.empty((NOTE_ROWS, notes), np.int32),
        tracks=np.empty((TRACK_ROWS, tracks), np.int32),
        metres=np.empty((METRE_ROWS, metres), np.int32),
        controls=np.empty((CONTROL_ROWS, controls), np.int32),
        changes=np.empty((CHANGE_ROWS, changes), np.int32),
        work=np.empty(WORK_CELLS, np.int32),
    )


@kernel
def _midi_in(data: Bytes, at: int, end: int) -> int:
    """Return where in a file its MIDI data begin: at once, or in a chunk of RIFF."""
    if end - at < _RIFF_HEADER_BYTES or number(data, at, 4) != _RIFF:
        return at
    place = at + _RIFF_HEADER_BYTES
    while end - place > _CHUNK_HEADER_BYTES:
        body = place + _CHUNK_HEADER_BYTES
        if number(data, place, 4) == _DATA:
            return body  # its size is often wrong; tracks say themselves how long they are
        size = 0
        for i in range(4):  # in RIFF the lowest byte comes first
            size |= wide(data[place + 4 + i]) << 8 * i
        place = body + size + size % 2
    return at


@kernel
def _check_header(data: Bytes, at: int, end: int) -> int:
    """Return 0 for a header that can be read, or a fault."""
    if end - at < 4 or number(data, at, 4) != _MTHD:
        return FOREIGN
    if end - at < _HEADER_BYTES:
        return CUT
    size = number(data, at + 4, 4)
    if size < _HEADER_BYTES - _CHUNK_HEADER_BYTES:
        return HEADER
    if size > end - at - _CHUNK_HEADER_BYTES:
        return CUT
    if number(data, at + 8, 2) > _SEPARATE_PATTERNS:
        return FORMAT
    resolution = number(data, at + 12, 2)
    if resolution >= 0x8000:
        return FRAMES
    return NO_TICKS if resolution == 0 else 0


@kernel
def _scan_chunks(
    data: Bytes, at: int, end: int, order: npt.NDArray[np.int64], buffers: Buffers
) -> tuple[int, int]:
    """Read all chunks of the MIDI data; return how many notes (or a fault) and tracks there are."""
    work = buffers.work
    new_pass(work)
    promised, separate = number(data, at + 10, 2), number(data, at + 8, 2) == _SEPARATE_PATTERNS
    at += _CHUNK_HEADER_BYTES + number(data, at + 4, 4)
    chunk = count = track_count = patterns = 0
    while at < end:
        work[cells.PLACE] = at
        name = number(data, at, 4) if end - at >= _CHUNK_HEADER_BYTES else 0
        size = number(data, at + 4, 4) if name else 0
        at += _CHUNK_HEADER_BYTES
        if name != _MTRK:
            # A second file after the first, or the rest of a mail: players stop here as well.
            if name == _MTHD or (chunk >= promised and (name == 0 or size > end - at)):
                break
            if name == 0 or size > end - at:
                return CUT, 0
            at += size
            continue
        # The size of the last chunk is wrong in many files; its end-of-track event is not.
        first, last = count, min(end, at + size)
        new_chunk(chunk, work)
        chunk += 1
        count = scan_chunk(data, at, last, count, order, buffers)
        if count < 0:
            return count, 0
        if at + size > end and work[cells.ENDED] == 0:
            return CUT, 0
        at = at + size if at + size <= end else wide(work[cells.ENDED])
        count, track_count = close_chunk(
            buffers.notes, first, count, buffers.tracks, track_count, work
        )
        if count < 0:
            return count, 0
        patterns += count > first
    return (PATTERNS, patterns) if separate and patterns > 1 else (count, track_count)


@kernel
def scan(
    data: Bytes, at: int, end: int, longest_quarters: int, buffers: Buffers
) -> tuple[int, int, int, int, int]:
    """Read the MIDI file `data[at:end]` into buffers.

    Returns how many notes, tracks and metres there are, ticks a quarter note, and how many
    controls. The number of notes is a fault, the next number the place in the file where it was
    found (or, for PATTERNS, how many there are), and the others mean nothing, where the file
    cannot be read, does not end within `longest_quarters`, or does not fit.
    """
    # Kernels know no bounds: what they index by is checked once, here.
    fits = (
        buffers.notes.shape[0] >= NOTE_ROWS
        and buffers.tracks.shape[0] >= TRACK_ROWS
        and buffers.metres.shape[0] >= METRE_ROWS
        and buffers.controls.shape[0] >= CONTROL_ROWS
        and buffers.changes.shape[0] >= CHANGE_ROWS
        and len(buffers.work) >= WORK_CELLS
    )
    if not (fits and 0 <= at <= end <= len(data)):
        return NO_ROOM, 0, 0, 0, 0
    start, work = at, buffers.work
    at = _midi_in(data, at, end)
    fault = _check_header(data, at, end)
    if fault < 0:
        return fault, at - start, 0, 0, 0
    resolution = number(data, at + 12, 2)
    new_file(work)
    # The first pass takes each chunk to set what it plays itself, as nearly all files do.
    order = np.empty(0, np.int64)
    count, track_count = _scan_chunks(data, at, end, order, buffers)
    if count >= 0 and work[cells.SHARED]:
        # What is noted now is what was noted before, so `changes` stay as they are.
        order = ordered(buffers.changes, wide(work[cells.CHANGES]))
        count, track_count = _scan_chunks(data, at, end, order, buffers)
    if count == PATTERNS:
        return PATTERNS, track_count, 0, 0, 0
    if count >= 0:
        last = np.int32(0)
        for i in range(count):
            last = max(last, buffers.notes[END, i])
        if count == 0:
            count = SILENT
        # One absurd time would make the grid as long as the memory.
        elif wide(last) > longest_quarters * resolution:
            return LONG, wide(last) // resolution, 0, 0, 0
    if count < 0:
        return count, wide(work[cells.PLACE]) - start, 0, 0, 0
    return count, track_count, wide(work[cells.METRES]), resolution, wide(work[cells.CONTROLS])
