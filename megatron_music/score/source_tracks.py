"""The tracks of a MIDI file's score as the events that they are: which chunk, which note-ons."""

from collections import Counter, defaultdict
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
