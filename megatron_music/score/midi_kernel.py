"""The bytes of a MIDI file to columns of notes, compiled.

symusic decides what a file says; this reader only says the same sooner. It knows the ordinary
MIDI file, and wherever a file is anything else (damaged, SMPTE time, stray status bytes, more
tracks than an orchestra) it answers "not sure", and symusic reads the file instead.

How a file is read: every chunk is one pass over its bytes. A note-on opens a note, a note-off
ends the oldest open note of its channel and pitch, and what is still open when the chunk ends is
dropped. A track is what one channel plays in one program within one chunk; tracks stand in the
order of chunk, channel and program.
"""

import numpy as np
import numpy.typing as npt

from megatron_music.score.compiled import kernel, wide
from megatron_music.score.instruments import ALTO, BASS, CHOIR_PROGRAM, DRUMS, SOPRANO, TENOR
from megatron_music.score.notes import Metre, Score, Track

Columns = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]

NOT_SURE = -1
"""What `scan` answers instead of a number of notes."""

TRACK, ONSET, END, PITCH, CODE, COUNT = 0, 1, 2, 3, 0, 1
"""Rows of notes: track, onset, end, pitch. Rows of tracks: instrument code, number of notes."""

NOTE_ROWS, TRACK_ROWS, METRE_ROWS = 5, 2, 3
MOST_TRACKS = 256
MOST_METRES = 255
WORK_CELLS = 2 * 2048 + 2 * 16 + 4 * MOST_TRACKS + 8
"""Room that `scan` needs to work in: int32 cells."""

_FEWEST_NOTE_BYTES = 3
_RMID_HEADER_BYTES = 20
_LAST_TICK = 2**31 - 1
_MOST_STABLE = 23  # of more that stand at one tick, symusic's sorting changes the order
_SHORTEST_BEAT = 7  # a 128th note; beyond that, what symusic says depends on the processor
_NEXT = 4  # row of notes: which note of this channel and pitch was opened after this one
_OPEN, _LATEST, _PROGRAMS, _CURRENT, _KEYS = 0, 2048, 4096, 4112, 4128
_RANKS, _COUNTS, _STATE = _KEYS + MOST_TRACKS, _KEYS + 2 * MOST_TRACKS, _KEYS + 3 * MOST_TRACKS
_METRES, _TEMPOS, _TEMPO_TICK, _TEMPO, _TIED, _VOICE, _TRACKS, _MIXED = 0, 1, 2, 3, 4, 5, 6, 7
_NO_VOICE, _DOUBTFUL_VOICE = 0, -1
_UNKNOWN = -1


@kernel
def _quantity(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """Read a number of one to four bytes; return it and the place behind, NOT_SURE if damaged."""
    value = 0
    for place in range(at, min(at + 4, end)):
        byte = wide(data[place])
        value = (value << 7) | (byte & 0x7F)
        if byte < 0x80:
            return value, place + 1
    return 0, NOT_SURE


@kernel
def _number(data: Bytes, at: int, size: int) -> int:
    """Read a number of `size` bytes, the highest first."""
    value = 0
    for place in range(at, at + size):
        value = (value << 8) | wide(data[place])
    return value


@kernel
def _spells(data: Bytes, at: int, word: bytes) -> bool:
    """Tell whether the bytes from a place on are this word in capitals, whatever their case."""
    for i in range(len(word)):  # noqa: SIM110 (a generator is beyond a kernel)
        if (data[at + i] & 0xDF) != word[i]:
            return False
    return True


@kernel
def _voice(data: Bytes, at: int, end: int) -> int:
    """Return the voice that a track's name means, if it means one, or that it is doubtful."""
    for place in range(at, end):
        if data[place] >= 0x80:  # beyond ASCII, letters have capitals that surprise
            return _DOUBTFUL_VOICE
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
def _note_metre(data: Bytes, at: int, tick: int, metres: Columns, state: Columns) -> bool:
    """Put a time signature where it belongs in time; False if it is none, or one too many."""
    count = state[_METRES]
    if count >= metres.shape[1] or data[at + 1] > _SHORTEST_BEAT:
        return False
    place = count
    if count > 0 and metres[0, count - 1] >= tick:
        state[_MIXED] = 1
    while place > 0 and metres[0, place - 1] > tick:
        for row in range(METRE_ROWS):
            metres[row, place] = metres[row, place - 1]
        place -= 1
    metres[0, place] = tick
    metres[1, place] = data[at]
    metres[2, place] = 1 << data[at + 1]
    state[_METRES] = count + 1
    return True


@kernel
def _note_tempo(data: Bytes, at: int, tick: int, state: Columns) -> None:
    """Keep the earliest tempo, of several the first."""
    tempo = _number(data, at, 3)
    if state[_TEMPOS] == 0 or tick < state[_TEMPO_TICK]:
        state[_TEMPO_TICK] = tick
        state[_TEMPO] = tempo
        state[_TIED] = 0
    elif tick == state[_TEMPO_TICK] and tempo != state[_TEMPO]:
        state[_TIED] = 1
    state[_TEMPOS] += 1


@kernel
def _meta(data: Bytes, at: int, end: int, tick: int, metres: Columns, state: Columns) -> int:
    """Take in the meta event whose type stands at `at`; return the place behind, or NOT_SURE."""
    if at + 2 > end:
        return NOT_SURE
    kind = data[at]
    size, body = _quantity(data, at + 1, end)
    if body < 0 or body + size > end:
        return NOT_SURE
    usual = body == at + 2
    if kind == 0x2F:
        return end
    if kind == 0x03:
        state[_VOICE] = _voice(data, body, body + size)
    elif kind == 0x51:
        if size != 3 or not usual:
            return NOT_SURE
        _note_tempo(data, body, tick, state)
    elif kind == 0x58 and not (
        size == 4 and usual and _note_metre(data, body, tick, metres, state)
    ):
        return NOT_SURE
    return body + size


@kernel
def _local_track(channel: int, work: Columns, state: Columns) -> int:
    """Return the number, within the chunk, of what a channel plays now; NOT_SURE if too many."""
    keys = work[_KEYS : _KEYS + MOST_TRACKS]
    key = channel << 7 | work[_PROGRAMS + channel]
    count = state[_TRACKS]
    for local in range(count):
        if keys[local] == key:
            return local
    if count >= MOST_TRACKS:
        return NOT_SURE
    keys[count] = key
    state[_TRACKS] = count + 1
    return wide(count)


@kernel
def _scan_chunk(  # noqa: C901, PLR0912, PLR0915 (one loop without calls: see its first line)
    data: Bytes, at: int, end: int, notes: Columns, count: int, metres: Columns, work: Columns
) -> int:
    """Read a chunk and put its notes behind the `count` there are; return how many are then."""
    # No call that takes an array on the way of a note: each would count references, atomically.
    owners, onsets, ends, pitches, following = notes[0], notes[1], notes[2], notes[3], notes[4]
    opened, latest = work[_OPEN:_LATEST], work[_LATEST:_PROGRAMS]
    current, state = work[_CURRENT:_KEYS], work[_STATE : _STATE + 8]
    work[:_PROGRAMS] = _UNKNOWN
    work[_PROGRAMS:_CURRENT] = 0
    current[:] = _UNKNOWN
    state[_VOICE], state[_TRACKS] = _NO_VOICE, 0
    tick = status = 0
    while at < end:
        delta = wide(data[at])
        at += 1
        if delta >= 0x80:
            delta, at = _quantity(data, at - 1, end)
        tick += delta
        if at < 0 or at >= end or tick > _LAST_TICK:
            return NOT_SURE
        byte = wide(data[at])
        if byte >= 0xF0:
            at, status = _system(data, at, end, tick, status, metres, state)
            if at < 0:
                return NOT_SURE
            continue
        if byte >= 0x80:
            status = byte
            at += 1
        kind, channel = status & 0xF0, status & 15
        body = at
        at += 1 if status & 0xE0 == 0xC0 else 2
        if status == 0 or at > end:
            return NOT_SURE
        if kind > 0x90:
            if kind == 0xC0 and not _change_program(data[body], channel, work):
                return NOT_SURE
            continue
        pitch, velocity = wide(data[body]), wide(data[body + 1])
        slot = channel << 7 | pitch
        if (pitch | velocity) >= 0x80:
            return NOT_SURE
        oldest = wide(opened[slot])
        if kind == 0x80 or velocity == 0:
            if oldest >= 0:
                ends[oldest] = tick
                opened[slot] = following[oldest]
            continue
        if current[channel] < 0:
            current[channel] = _local_track(channel, work, state)
        if current[channel] < 0 or count >= len(onsets):
            return NOT_SURE
        owners[count], onsets[count], ends[count] = current[channel], tick, -1
        pitches[count], following[count] = pitch, -1
        if oldest < 0:
            opened[slot] = count
        else:
            following[latest[slot]] = count
        latest[slot] = count
        count += 1
    return count


@kernel
def _change_program(program: int, channel: int, work: Columns) -> bool:
    """Take in a change of program; False where it is none that there is."""
    work[_PROGRAMS + channel] = program
    work[_CURRENT + channel] = _UNKNOWN
    return program < 0x80


@kernel
def _system(
    data: Bytes, at: int, end: int, tick: int, status: int, metres: Columns, state: Columns
) -> tuple[int, int]:
    """Pass a meta event or system exclusive data; return the place behind and the status."""
    if tick > _LAST_TICK:
        return NOT_SURE, 0
    if data[at] == 0xFF:
        return _meta(data, at + 1, end, tick, metres, state), status
    if data[at] != 0xF0:
        return NOT_SURE, 0
    size, body = _quantity(data, at + 1, end)
    return body + size if 0 <= body <= end - size else NOT_SURE, 0


@kernel
def _close_chunk(
    notes: Columns, first: int, count: int, tracks: Columns, track_count: int, work: Columns
) -> tuple[int, int]:
    """Drop the notes that never ended and number the tracks; return how many of both there are."""
    state = work[_STATE : _STATE + 8]
    keys, ranks = work[_KEYS:_RANKS], work[_RANKS:_COUNTS]
    counts = work[_COUNTS:_STATE]
    local_count = wide(state[_TRACKS])
    counts[:local_count] = 0
    kept = first
    for i in range(first, count):
        if notes[END, i] >= 0:
            owner = notes[TRACK, i]
            notes[TRACK, kept], notes[ONSET, kept] = owner, notes[ONSET, i]
            notes[END, kept], notes[PITCH, kept] = notes[END, i], notes[PITCH, i]
            counts[owner] += 1
            kept += 1
    for local in range(local_count):
        rank = track_count
        for other in range(local_count):
            rank += counts[other] > 0 and keys[other] < keys[local]
        ranks[local] = rank
        if counts[local] == 0:
            continue
        if rank >= tracks.shape[1]:
            return NOT_SURE, 0
        code = _code(keys[local], state[_VOICE])
        if code < 0:
            return NOT_SURE, 0
        tracks[CODE, rank] = code
        tracks[COUNT, rank] = counts[local]
    for i in range(first, kept):
        notes[TRACK, i] = ranks[notes[TRACK, i]]
    for local in range(local_count):
        track_count += counts[local] > 0
    return kept, track_count


@kernel
def _code(key: int, voice: int) -> int:
    """Return the instrument of a channel and program in a chunk with such a name; or NOT_SURE."""
    if key >> 7 == 9:
        return DRUMS
    program = key & 0x7F
    if program != CHOIR_PROGRAM or voice == _NO_VOICE:
        return program
    return NOT_SURE if voice == _DOUBTFUL_VOICE else voice


@kernel
def scan(  # noqa: C901 (a condition for each thing that a header can say)
    data: Bytes,
    at: int,
    end: int,
    longest_quarters: int,
    notes: Columns,
    tracks: Columns,
    metres: Columns,
    work: Columns,
) -> tuple[int, int, int, int, int]:
    """Read the MIDI file that stands in `data[at:end]`.

    Writes `notes` (NOTE_ROWS rows, in ticks), `tracks` (TRACK_ROWS rows) and `metres` (rows: tick,
    numerator, denominator) from their beginning; `work` has WORK_CELLS. Returns how many of each
    there are, ticks a quarter note and microseconds a quarter note (-1 if the file sets no
    tempo). The number of notes is NOT_SURE, and the others mean nothing, unless the file is
    certain to be what symusic would read, ends within `longest_quarters` and fits.
    """
    failed = (NOT_SURE, 0, 0, 0, 0)
    if not (0 <= at <= end <= len(data)) or _too_small(notes, tracks, metres, work):
        return failed
    if end - at > _RMID_HEADER_BYTES and data[at] == 0x52 and _number(data, at, 4) == 0x52494646:
        at += _RMID_HEADER_BYTES
    if end - at < 14 or _number(data, at, 8) != 0x4D546864_00000006:
        return failed
    resolution = _number(data, at + 12, 2)
    if _number(data, at + 8, 2) > 1 or resolution == 0 or resolution >= 0x8000:
        return failed
    chunks = _number(data, at + 10, 2)
    state = work[_STATE : _STATE + 8]
    state[:] = 0
    state[_TEMPO] = -1
    at += 14
    count = track_count = 0
    while at < end and chunks > 0:
        if end - at < 8:
            return failed
        is_track, size = _number(data, at, 4) == 0x4D54726B, _number(data, at + 4, 4)
        at += 8
        if size > end - at - (not is_track):  # symusic wants a track behind what is none
            return failed
        if is_track:
            chunks -= 1
            first = count
            count = _scan_chunk(data, at, at + size, notes, count, metres, work)
            if count < 0:
                return failed
            count, track_count = _close_chunk(notes, first, count, tracks, track_count, work)
            if count < 0:
                return failed
        at += size
    doubtful = (state[_TIED] > 0 and state[_TEMPOS] > _MOST_STABLE) or (
        state[_MIXED] > 0 and state[_METRES] > _MOST_STABLE
    )
    if count == 0 or doubtful or _last_tick(notes, count) > longest_quarters * resolution:
        return failed
    return count, track_count, wide(state[_METRES]), resolution, wide(state[_TEMPO])


@kernel
def _too_small(notes: Columns, tracks: Columns, metres: Columns, work: Columns) -> bool:
    return (
        notes.shape[0] < NOTE_ROWS
        or tracks.shape[0] < TRACK_ROWS
        or metres.shape[0] < METRE_ROWS
        or len(work) < WORK_CELLS
    )


@kernel
def _last_tick(notes: Columns, count: int) -> int:
    last = np.int32(0)
    for i in range(count):
        last = max(last, notes[END, i])
    return wide(last)


class MidiReader:
    """Reads MIDI files with the compiled reader, into buffers that are kept from file to file."""

    def __init__(self) -> None:
        self._data = np.empty(0, np.uint8)
        self._notes = np.empty((NOTE_ROWS, 0), np.int32)
        self._tracks = np.empty((TRACK_ROWS, MOST_TRACKS), np.int32)
        self._metres = np.empty((METRE_ROWS, MOST_METRES), np.int32)
        self._work = np.empty(WORK_CELLS, np.int32)

    def read(self, raw: bytes) -> Score | None:
        """Return what `parse_midi` would return for these bytes, or None where that is not sure."""
        from megatron_music.score.midi import LONGEST_QUARTERS

        self._make_room(len(raw))
        self._data[: len(raw)] = np.frombuffer(raw, np.uint8)
        buffers = self._notes, self._tracks, self._metres, self._work
        count, tracks, metres, resolution, tempo = scan(
            self._data, 0, len(raw), LONGEST_QUARTERS, *buffers
        )
        if count < 0:
            return None
        return Score(resolution, self._split(count, tracks), self._signs(metres), _bpm(tempo))

    def _make_room(self, size_bytes: int) -> None:
        if len(self._data) < size_bytes:
            self._data = np.empty(size_bytes, np.uint8)
            self._notes = np.empty((NOTE_ROWS, size_bytes // _FEWEST_NOTE_BYTES + 1), np.int32)

    def _split(self, count: int, tracks: int) -> tuple[Track, ...]:
        owner, onset, end, pitch = self._notes[:_NEXT, :count].astype(np.int64)
        order = np.argsort(owner, kind="stable")
        edges = np.cumsum(self._tracks[COUNT, :tracks])[:-1]
        columns = (np.split(column[order], edges) for column in (onset, end, pitch))
        codes = self._tracks[CODE, :tracks].tolist()
        return tuple(Track(code, *rows) for code, *rows in zip(codes, *columns, strict=True))

    def _signs(self, count: int) -> tuple[Metre, ...]:
        return tuple(Metre(*row) for row in self._metres[:, :count].T.tolist())


def _bpm(microseconds: int) -> float:
    from megatron_music.score.midi import DEFAULT_TEMPO_BPM

    bpm = 60_000_000 / microseconds if microseconds > 0 else DEFAULT_TEMPO_BPM
    return bpm if 4 <= bpm <= 1000 else DEFAULT_TEMPO_BPM
