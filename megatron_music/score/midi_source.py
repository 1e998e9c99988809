"""A MIDI file to begin from: its notes, as `midi_file` reads them, and the events they are."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from megatron_music.score.channel_kernel import CHANNELS
from megatron_music.score.midi import score_of
from megatron_music.score.midi_bytes import midi_bytes
from megatron_music.score.midi_events import (
    NOTE_OFF,
    NOTE_ON,
    PROGRAM,
    Chunk,
    EventFile,
    parse_events,
)
from megatron_music.score.midi_file import MidiFile, MidiTrack, parse_file, read_bytes
from megatron_music.score.music_file import read_music
from megatron_music.score.notes import Score
from megatron_music.score.score_file import is_score

_KIND = 0xF0
_MOST = 0x7F


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


@dataclass
class MidiSource:
    """A MIDI file read twice: as a score, and as the events that are to stay as they are.

    `tracks` are those of the score, in its order; `channel` counts on from port to port.
    """

    path: Path
    raw: bytes
    midi: MidiFile
    events: EventFile
    score: Score = field(init=False)
    tracks: tuple[SourceTrack, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Find the events of each note."""
        self.score = score_of(self.midi)
        self.tracks = tuple(_tracks(self.midi.tracks, self.events.tracks))

    def programs(self, channel: int) -> list[tuple[int, int]]:
        """Return when a channel changes its programme, and to which, in order."""
        changes = [(0, 0)]
        for chunk in self.events.tracks:
            changes += [
                (event.tick, event.raw[1] & _MOST)
                for port, event in chunk.with_ports()
                if event.raw[0] & _KIND == PROGRAM and port * CHANNELS + event.channel == channel
            ]
        return sorted(changes, key=lambda change: change[0])

    @property
    def channels(self) -> set[int]:
        """The channels that any event is for, counted on from port to port."""
        return {
            port * CHANNELS + event.channel
            for chunk in self.events.tracks
            for port, event in chunk.with_ports()
            if event.channel >= 0
        }


def read_source(path: Path) -> MidiSource:
    """Read a MIDI file to begin from, or notation as a MIDI file of its notes.

    Raises MusicFileError as `read_music` does.
    """
    raw = midi_bytes(read_music(path)) if is_score(path.name) else read_bytes(path)
    midi = parse_file(raw, str(path))
    return MidiSource(path, raw, midi, parse_events(raw))


def _tracks(tracks: Sequence[MidiTrack], chunks: Sequence[Chunk]) -> list[SourceTrack]:
    """Give each track of the score its notes' events: tracks come chunk by chunk, in order."""
    left = [_notes(chunk) for chunk in chunks]
    found = []
    place = 0
    for track in tracks:
        while not left[place].get(track.channel):
            place += 1
        notes = _take(left[place][track.channel], track)
        name = chunks[place].name
        found.append(SourceTrack(place, track.channel, track.program, name, notes))
    return found


def _take(notes: list[SourceNote], track: MidiTrack) -> tuple[SourceNote, ...]:
    """Take a track's notes out of those of its chunk and channel."""
    if len(notes) == len(track.onset):
        taken = tuple(notes)
        notes.clear()
        return taken
    columns = (track.onset, track.end, track.pitch, track.velocity)
    due: dict[tuple[int, ...], int] = defaultdict(int)
    for row in zip(*(column.tolist() for column in columns), strict=True):
        due[row] += 1
    chosen = []
    for note in list(notes):
        if due[note[2:]] > 0:
            due[note[2:]] -= 1
            chosen.append(note)
            notes.remove(note)
    return tuple(chosen)


def _notes(chunk: Chunk) -> dict[int, list[SourceNote]]:
    """Return the notes of each channel in the order of their note-ons, as `scan_chunk` pairs them.

    A note-off ends the oldest open note of its channel and pitch; what never ends is no note.
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
        pitch, velocity = min(event.raw[1], _MOST), min(event.raw[2], _MOST)
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
