"""A MIDI file to begin from: its notes, as `midi_reader` reads them, and the events they are."""

from dataclasses import dataclass, field
from pathlib import Path

from megatron_music.score.channel_kernel import CHANNELS
from megatron_music.score.karaoke import with_words
from megatron_music.score.midi_events import (
    PROGRAM,
    EventFile,
    SourceTrack,
    parse_events,
    source_tracks,
)
from megatron_music.score.midi_reader import MidiFile, parse_file, read_bytes, score_of
from megatron_music.score.midi_writer import midi_bytes
from megatron_music.score.music_file import read_music
from megatron_music.score.notation import is_score
from megatron_music.score.notes import Score

_KIND = 0xF0
_MOST = 0x7F


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
        self.tracks = tuple(source_tracks(self.midi.tracks, self.events.tracks))
        chunks = [track.chunk for track in self.tracks]
        self.score = with_words(score_of(self.midi), self.events, chunks).score

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
