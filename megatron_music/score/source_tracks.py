"""The tracks of a MIDI file's score as the events that they are: which chunk, which note-ons."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from megatron_music.score.channel_kernel import CHANNELS
from megatron_music.score.midi_events import NOTE_OFF, NOTE_ON, Chunk
from megatron_music.score.midi_file import MidiTrack

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


def source_tracks(tracks: Sequence[MidiTrack], chunks: Sequence[Chunk]) -> list[SourceTrack]:
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
