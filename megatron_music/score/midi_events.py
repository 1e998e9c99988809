"""MIDI files as events, byte for byte, and the events of each note of a score.

This reads files that `midi_kernel` has read, and accepts the same faults. A file that is written
again has the same events, with three differences: each event has its own status byte, the count of
chunks is right, and a RIFF wrapper is removed.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from megatron_music.score.channel_kernel import CHANNELS, PORTS
from megatron_music.score.midi_reader import MidiTrack

NOTE_OFF, NOTE_ON, PROGRAM, META = 0x80, 0x90, 0xC0, 0xFF
TEXT, NAME, LYRIC, PORT, END_OF_TRACK, TEMPO, METRE = 0x01, 0x03, 0x05, 0x21, 0x2F, 0x51, 0x58
"""Kinds of meta events."""

_HEADER = b"MThd"
_TRACK = b"MTrk"
_HEADER_BYTES = 8
_KIND = 0xF0
_SYSTEM = 0xF0
_MOST_DATA = 0x7F
_SYSEX = (0xF0, 0xF7)
_CABLE_BYTES = {0xF1: 2, 0xF2: 3, 0xF3: 2}
"""Messages of more than one byte that belong on a cable."""


class Event(NamedTuple):
    """What happens at a tick: `raw` begins with its status."""

    tick: int
    raw: bytes

    @property
    def is_meta(self) -> bool:
        """True for events that make no sound: names, tempos, marks."""
        return self.raw[0] == META

    def is_meta_of(self, kind: int) -> bool:
        """Tell whether this is a meta event of a kind."""
        return self.raw[0] == META and self.raw[1] == kind

    @property
    def channel(self) -> int:
        """The channel of its port, -1 for what belongs to none."""
        return self.raw[0] & 15 if self.raw[0] < _SYSTEM else -1

    @property
    def text(self) -> bytes:
        """What a meta event says."""
        size, at = _quantity(self.raw, 2)
        return self.raw[at : at + size]


@dataclass
class Chunk:
    """One track chunk: its events in order of time, and the tick it ends at."""

    events: list[Event] = field(default_factory=list)
    end_ticks: int = 0

    @property
    def name(self) -> str:
        """What the chunk calls itself first, "" if nothing."""
        for event in self.events:
            if event.is_meta_of(NAME):
                return decoded(event.text)
        return ""

    def with_ports(self) -> Iterator[tuple[int, Event]]:
        """Give the events with the port that they are for."""
        port = 0
        for event in self.events:
            if event.is_meta_of(PORT) and event.text:
                port = event.text[0] % PORTS
            yield port, event


@dataclass
class EventFile:
    """A MIDI file: track chunks, and chunks of other kinds whole at their places among them."""

    header: bytes
    chunks: list[Chunk | bytes]

    @property
    def ticks_per_quarter(self) -> int:
        """The file's resolution."""
        return int.from_bytes(self.header[4:6])

    @property
    def tracks(self) -> list[Chunk]:
        """The track chunks."""
        return [chunk for chunk in self.chunks if isinstance(chunk, Chunk)]

    def to_bytes(self) -> bytes:
        """Return the file, its events by their ticks; those of one tick keep their order.

        More than one track makes a file of one track one of several.
        """
        count = len(self.tracks)
        # Format 0 is for files of one track.
        kind = max(int.from_bytes(self.header[:2]), int(count > 1))
        header = kind.to_bytes(2) + count.to_bytes(2) + self.header[4:]
        written = [_HEADER, len(header).to_bytes(4), header]
        for chunk in self.chunks:
            if isinstance(chunk, bytes):
                written.append(chunk)
                continue
            body = bytearray()
            before = 0
            # Times are written as differences, which cannot be below 0.
            for tick, raw in sorted(chunk.events, key=lambda event: event.tick):
                body += variable_length(tick - before) + raw
                before = tick
            end = max(chunk.end_ticks, before)
            body += variable_length(end - before) + meta(END_OF_TRACK, b"")
            written += [_TRACK, len(body).to_bytes(4), bytes(body)]
        return b"".join(written)


def decoded(text: bytes) -> str:
    """Return a text of a file, in UTF-8 or another encoding, without blanks around it."""
    try:
        return text.decode("utf-8").strip("\0 \t\r\n")
    except UnicodeDecodeError:
        return text.decode("latin-1").strip("\0 \t\r\n")


def meta(kind: int, text: bytes) -> bytes:
    """Return a meta event's bytes."""
    return bytes((META, kind)) + variable_length(len(text)) + text


def parse_events(raw: bytes) -> EventFile:
    """Read the bytes of a MIDI file that `parse_file` has read."""
    at = 0
    if raw[:4] == b"RIFF":  # .rmi: the MIDI data are in one of its chunks
        at = 12
        while raw[at : at + 4] != b"data":
            size = int.from_bytes(raw[at + 4 : at + 8], "little")
            # RIFF pads its chunks to even sizes.
            at += 8 + size + size % 2
        at += 8
    size = int.from_bytes(raw[at + 4 : at + 8])
    header = raw[at + _HEADER_BYTES : at + _HEADER_BYTES + size]
    promised = int.from_bytes(header[2:4])
    at += _HEADER_BYTES + size
    chunks: list[Chunk | bytes] = []
    count = 0
    while len(raw) - at >= _HEADER_BYTES:
        name, size = raw[at : at + 4], int.from_bytes(raw[at + 4 : at + 8])
        body = at + _HEADER_BYTES
        if name == _TRACK:
            chunk, ended = _parse_chunk(raw, body, min(body + size, len(raw)))
            chunks.append(chunk)
            count += 1
            at = body + size if body + size <= len(raw) else ended
        # As in `midi_kernel`: a second file appended, a chunk that is cut short, or padding with
        # zeros.
        elif name == _HEADER or body + size > len(raw) or (count >= promised and not any(name)):
            break
        else:
            chunks.append(raw[at : body + size])
            at = body + size
    return EventFile(header, chunks)


def _parse_chunk(raw: bytes, at: int, end: int) -> tuple[Chunk, int]:
    """Read a chunk up to its end-of-track event; return it and the place after that."""
    chunk = Chunk()
    tick = status = 0
    while at < end:
        delta, at = _quantity(raw, at)
        tick += delta
        first = raw[at]
        if first >= _SYSTEM:
            if first == META or first in _SYSEX:
                # A meta event has its kind between the status and the size.
                size, body = _quantity(raw, at + (2 if first == META else 1))
                after = body + size
            else:
                after = at + _CABLE_BYTES.get(first, 1)
            event = Event(tick, raw[at:after])
        else:
            # Running status: without a status byte that of the last channel message holds. System
            # messages do not end it here, since files rely on that.
            if first >= NOTE_OFF:
                status, at = first, at + 1
            # Program changes (0xC0) and channel pressure (0xD0) have one data byte, the others two.
            after = at + (1 if status & 0xE0 == PROGRAM else 2)
            event = Event(tick, bytes((status,)) + raw[at:after])
        at = after
        if event.is_meta_of(END_OF_TRACK):
            break
        chunk.events.append(event)
    chunk.end_ticks = tick
    return chunk, at


def _quantity(raw: bytes, at: int) -> tuple[int, int]:
    value = 0
    while True:
        byte = raw[at]
        value, at = value << 7 | byte & 0x7F, at + 1
        if byte < NOTE_OFF:
            return value, at


def variable_length(value: int) -> bytes:
    """Return a number as MIDI files write times and sizes: 7 bits a byte, bit 7 if more follow."""
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(value & 0x7F | 0x80)
    return bytes(reversed(parts))


class SourceNote(NamedTuple):
    """A note of a file: its two events, as places in their chunk, its ticks and its velocity."""

    begins: int
    ends: int
    onset: int
    end: int
    pitch: int
    velocity: int


class SourceTrack(NamedTuple):
    """A track of the file's score: which chunk and channel play it, and its notes."""

    chunk: int
    channel: int
    program: int
    name: str
    notes: tuple[SourceNote, ...]


def source_tracks(tracks: Sequence[MidiTrack], chunks: Sequence[Chunk]) -> list[SourceTrack]:
    """Give each track of the score its notes' events: tracks come chunk by chunk, in order."""
    left = [_notes(chunk) for chunk in chunks]
    found = []
    place = 0
    for track in tracks:
        while not left[place].get(track.channel):
            place += 1
        taken, others = left[place][track.channel], list[SourceNote]()
        if len(taken) > len(track.onset):
            # The channel changes its programme here, and each sound is a track of its own: take
            # the notes that this one has.
            columns = (track.onset, track.end, track.pitch, track.velocity)
            due = Counter[tuple[int, ...]](zip(*(one.tolist() for one in columns), strict=True))
            taken = []
            for note in left[place][track.channel]:
                is_due = due[note[2:]] > 0
                due[note[2:]] -= is_due
                (taken if is_due else others).append(note)
        left[place][track.channel] = others
        name = chunks[place].name
        found.append(SourceTrack(place, track.channel, track.program, name, tuple(taken)))
    return found


def _notes(chunk: Chunk) -> dict[int, list[SourceNote]]:
    """Return the notes of each channel in the order of their note-ons, as `scan_chunk` pairs them.

    A note-off ends the oldest open note of its channel and pitch; notes that never end are dropped.
    """
    opened: dict[tuple[int, int], list[int]] = defaultdict(list)
    ends: dict[int, int] = {}
    begun: list[tuple[int, int, int, int]] = []
    channel = 0
    for place, (port, event) in enumerate(chunk.with_ports()):
        kind = event.raw[0] & _KIND
        if kind not in (NOTE_ON, NOTE_OFF):
            continue
        channel = port * CHANNELS + event.channel
        pitch, velocity = min(event.raw[1], _MOST_DATA), min(event.raw[2], _MOST_DATA)
        waiting = opened[channel, pitch]
        if kind == NOTE_ON and velocity:
            begun.append((place, channel, pitch, velocity))
            waiting.append(place)
        elif waiting:
            ends[waiting.pop(0)] = place
    notes: dict[int, list[SourceNote]] = defaultdict(list)
    for place, channel, pitch, velocity in begun:
        if place in ends:
            off = ends[place]
            ticks = chunk.events[place].tick, chunk.events[off].tick
            notes[channel].append(SourceNote(place, off, *ticks, pitch, velocity))
    return notes
