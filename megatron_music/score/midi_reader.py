"""Read MIDI files by the compiled reader: their scores, or why they cannot be read."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from megatron_music.errors import MidiError
from megatron_music.files import suggest_path
from megatron_music.score.midi_columns import (
    CONTROL_TICK,
    CUT,
    FOREIGN,
    FORMAT,
    FRAMES,
    HEADER,
    LATE,
    LONG,
    LONG_NUMBER,
    NO_EVENT,
    NO_ROOM,
    NO_STATUS,
    NO_TICKS,
    ONSET,
    PATTERNS,
    SILENT,
    TEMPO,
    TRACK,
    US_PER_MINUTE,
    VELOCITY,
)
from megatron_music.score.notes import (
    DEFAULT_QUARTER_US,
    QUARTERS_PER_BAR,
    IntArray,
    Metre,
    Score,
    Tempo,
    Track,
)
from megatron_music.score.tempo import usual_us

LONGEST_QUARTERS = 40_000
"""10,000 bars of 4/4, over five hours: a note beyond that is damage, not music."""

_US_PER_S = 1e6

_LONGEST_BARS = LONGEST_QUARTERS // QUARTERS_PER_BAR
_DAMAGED = "is not a sound MIDI file ({}); export it again"
FAULTS = {
    NO_ROOM: ("large", "has more tracks, notes or changes of programme than can be read"),
    CUT: ("damaged", _DAMAGED.format("it is cut short in what begins at byte {}")),
    LONG_NUMBER: ("damaged", _DAMAGED.format("a number at byte {} has more than four bytes")),
    NO_STATUS: ("damaged", _DAMAGED.format("the event at byte {} has no status")),
    NO_EVENT: ("damaged", _DAMAGED.format("byte {} begins no MIDI event")),
    LATE: (
        "damaged",
        _DAMAGED.format("the event at byte {} comes too many ticks in"),
    ),
    HEADER: ("damaged", _DAMAGED.format("its header has fewer than 6 bytes")),
    FORMAT: ("damaged", _DAMAGED.format("its format is none of 0, 1 and 2")),
    PATTERNS: (
        "format",
        "holds {} separate patterns (format 2), which do not sound together; "
        "export them one by one",
    ),
    FRAMES: ("timing", "counts time in film frames (SMPTE), not in beats; export it with beats"),
    NO_TICKS: ("timing", "counts 0 ticks a quarter note; it must be 1 or more"),
    SILENT: ("silent", "holds no notes; there is nothing to encode"),
    LONG: ("large", f"has a note {{}} bars in; the limit is {_LONGEST_BARS} bars"),
}
"""The reason for each fault, and its message; `{}` is replaced by the place."""

_OTHERS = (
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
    (b"<?xml", "an XML file"),
    (b"rar!", "a RAR archive"),
    (b"pk\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"%pdf", "a PDF file"),
    (b"id3", "an MP3 file"),
    (b"riff", "a sound or video file"),
    (b"\x89png", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"flac", "a sound file"),
    (b"oggs", "a sound file"),
    (b"ctmf", "a Creative music file"),
)
"""What files that are not MIDI begin with, in small letters, and what they are."""

_LEAST_BYTES = {"notes": 3, "tracks": 3, "metres": 6, "changes": 2, "controls": 2}
"""Of a file for each of these: what limits how many there can be."""

_MOST = {"changes": 1 << 20}
"""Files with more of them are refused, see NO_ROOM."""


@dataclass(frozen=True)
class MidiTrack:
    """What one channel plays with one sound in one track chunk, in the order of its note-ons.

    `instrument` is a code of `instruments`, `program` that of General MIDI or of the drum kit;
    `channel` counts on from port to port. Columns are int64, times in ticks.
    """

    instrument: int
    program: int
    channel: int
    onset: IntArray
    end: IntArray
    pitch: IntArray
    velocity: IntArray


@dataclass(frozen=True)
class MidiFile:
    """What a MIDI file says of its music.

    `controls` has a column for each change of a controller, of a pitch bend and of the tempo in
    the order of time, and the rows that `midi_columns` names.
    """

    ticks_per_quarter: int
    tracks: tuple[MidiTrack, ...]
    metres: tuple[Metre, ...]
    controls: IntArray

    def tempos(self) -> tuple[IntArray, IntArray]:
        """Return where tempos begin, in ticks, and their microseconds a quarter note.

        Of several at one tick the last counts.
        """
        ticks, _, kinds, values = self.controls
        chosen = (kinds == TEMPO) & (values > 0)
        ticks, values = ticks[chosen], values[chosen]
        last = np.append(ticks[1:] != ticks[:-1], True)[: len(ticks)]
        return ticks[last], values[last]

    def seconds(self, ticks: IntArray) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Return when these ticks sound, in seconds."""
        starts, quarters = self.tempos()
        if not len(starts) or starts[0] > 0:
            starts = np.concatenate(([0], starts))
            quarters = np.concatenate(([DEFAULT_QUARTER_US], quarters))
        tick_s = quarters / (_US_PER_S * self.ticks_per_quarter)
        begins_s = np.concatenate(([0.0], np.cumsum(np.diff(starts) * tick_s[:-1])))
        part = np.searchsorted(starts, ticks, side="right") - 1
        sounds_s: np.ndarray[tuple[int], np.dtype[np.float64]] = (
            begins_s[part] + (ticks - starts[part]) * tick_s[part]
        )
        return sounds_s


def read_midi(path: Path) -> Score:
    """Read a MIDI file; raises MidiError if it is missing, damaged, empty or too large."""
    return score_of(read_file(path))


def parse_midi(raw: bytes, name: str) -> Score:
    """Read the bytes of a MIDI file called `name`; raises MidiError with its reason.

    A track in the choir's program that carries a voice's name is that voice of a chorale. Times
    stay in ticks; the tempo is the first that the file sets.
    """
    return score_of(parse_file(raw, name))


def score_of(midi: MidiFile) -> Score:
    """Return the music of a file; the tempo it begins at is the first that it sets."""
    tracks = (
        Track(one.instrument, one.onset, one.end, one.pitch, one.velocity) for one in midi.tracks
    )
    ticks, quarters = midi.tempos()
    tempos = tuple(
        Tempo(tick, usual_us(quarter_us))
        for tick, quarter_us in zip(ticks.tolist(), quarters.tolist(), strict=True)
    )
    first_us = tempos[0].quarter_us if tempos else DEFAULT_QUARTER_US
    return Score(
        midi.ticks_per_quarter,
        tuple(tracks),
        midi.metres,
        US_PER_MINUTE / first_us,
        tempos=tempos,
    )


def read_file(path: Path) -> MidiFile:
    """Read a MIDI file; raises MidiError if it is missing, damaged, empty or too large."""
    return parse_file(read_bytes(path), str(path))


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a file; raises MidiError where it cannot be read."""
    try:
        if path.exists() and not path.is_file():
            raise MidiError(f"{path} is a folder or a device; give a MIDI file", "unreadable")
        return path.read_bytes()
    except OSError as fault:
        message = f"cannot read {path}: {fault.strerror}; {suggest_path(path)}"
        raise MidiError(message, "unreadable") from None


def parse_file(raw: bytes, name: str) -> MidiFile:
    """Read the bytes of a MIDI file called `name`; raises MidiError with its reason."""
    from megatron_music.score.midi_kernel import new_buffers, scan

    if not raw:
        raise MidiError(f"{name} is an empty file; export it again", "empty")
    room = {
        kind: min(len(raw) // size + 1, _MOST.get(kind, len(raw)))
        for kind, size in _LEAST_BYTES.items()
    }
    buffers = new_buffers(**room)
    # A bytearray, since the kernel is compiled for writable arrays.
    data = np.frombuffer(bytearray(raw), np.uint8)
    count, tracks, metres, resolution, controls = scan(data, 0, len(raw), LONGEST_QUARTERS, buffers)
    if count < 0:
        raise _refusal(raw, count, tracks, name)
    # Notes are in the order of their note-ons, chunk by chunk; stable, so that each track keeps it.
    by_track = np.argsort(buffers.notes[TRACK, :count], kind="stable")
    columns = buffers.notes[ONSET : VELOCITY + 1, by_track].astype(np.int64)
    codes, counts, keys = buffers.tracks[:, :tracks].tolist()
    parts = (np.split(column, np.cumsum(counts)[:-1]) for column in columns)
    # Chunks were read one after another. Stable: at one tick the order in the file counts.
    by_time = np.argsort(buffers.controls[CONTROL_TICK, :controls], kind="stable")
    return MidiFile(
        resolution,
        tuple(
            # A key is the sound in its low byte, and above it the channel.
            MidiTrack(code, key & 0x7F, key >> 8, *rows)
            for code, key, *rows in zip(codes, keys, *parts, strict=True)
        ),
        tuple(Metre(*row) for row in buffers.metres[:, :metres].T.tolist()),
        buffers.controls[:, by_time].astype(np.int64),
    )


def _refusal(raw: bytes, fault: int, place: int, name: str) -> MidiError:
    if fault == FOREIGN:
        start = raw[:64].lstrip().lower()
        kinds = [f"{kind}, " for magic, kind in _OTHERS if start.startswith(magic)]
        kind = kinds[0] if kinds else ""
        return MidiError(f"{name} is {kind}not a MIDI file; export it as MIDI", "foreign")
    reason, message = FAULTS[fault]
    if fault == LONG:
        place //= QUARTERS_PER_BAR
    return MidiError(f"{name} {message.format(f'{place:,}')}", reason)
