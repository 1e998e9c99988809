"""Write a song into the file of its prompt: only what was composed changes.

All events but the notes of bars composed anew stay at their ticks: tempos, time signatures,
controllers, bends, names, programmes, marks, system exclusive data. New notes go into the chunk and
channel of their track; new tracks get a chunk after the others.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from megatron_music.files import atomic_write
from megatron_music.generate.prompt import Prompt
from megatron_music.generate.song import BoolArray, Song
from megatron_music.generate.song_request import SONG_TEMPO_BPM
from megatron_music.score.barlines import Barlines
from megatron_music.score.channel_kernel import CHANNELS, PORTS
from megatron_music.score.general_midi import instrument_title
from megatron_music.score.instruments import DRUMS, VOICES, general_midi_program
from megatron_music.score.karaoke import (
    KARAOKE_SUFFIX,
    as_karaoke,
    convention_of,
    is_sung,
    lyric_events,
    nearest_onsets,
    word_events,
)
from megatron_music.score.midi_columns import DRUM_CHANNEL, US_PER_MINUTE
from megatron_music.score.midi_events import (
    NAME,
    NOTE_OFF,
    NOTE_ON,
    PORT,
    PROGRAM,
    TEMPO,
    Chunk,
    Event,
    EventFile,
    SourceNote,
    SourceTrack,
    meta,
)
from megatron_music.score.midi_source import MidiSource
from megatron_music.score.midi_writer import write_midi
from megatron_music.score.notes import DEFAULT_VELOCITY, IntArray, Piece, Track

_OF_AN_INSTRUMENT = {0x02, 0x03, 0x04, 0x07, 0x08, 0x09, 0x20, 0x21}
"""The meta events that go with a dropped track: its name and its instrument."""

_NEIGHBOURS = 4
"""The number of notes on either side whose mean velocity a new note takes."""


@dataclass(frozen=True)
class NewNote:
    """A note to write, in ticks of the file; its velocity is UNTOLD as long as none is chosen."""

    onset: int
    end: int
    pitch: int
    velocity: int


def file_tempo_bpm(
    piece: Piece, prompt: Prompt | None, tempo_bpm: float | None = None
) -> float | None:
    """Return the tempo of a song's file; None where the file has the tempi of the piece.

    With `tempo_bpm` it is that, else as the prompt's file says, or as the model chose.
    """
    if tempo_bpm is not None:
        return tempo_bpm
    if prompt is None or prompt.source is None or prompt.bars is None:
        return None if piece.tempos_us else SONG_TEMPO_BPM
    score = prompt.source.score
    changes = len({tempo.quarter_us for tempo in score.tempos}) > 1
    return None if changes and piece.tempos_us else score.tempo_bpm


def write_song(
    song: Song, path: Path, prompt: Prompt | None = None, tempo_bpm: float | None = None
) -> None:
    """Write a song as a MIDI file: what its prompt's file holds, where it has one, and what is new.

    A `.kar` file has its words as karaoke has them: those of the track that has most.
    With `tempo_bpm` all is at that tempo, else as the file says, or as the model chose. New notes
    are as loud as the model made them, else as their neighbours. Raises WriteError.
    """
    if prompt is None or prompt.source is None or prompt.bars is None:
        write_midi(song.piece, path, file_tempo_bpm(song.piece, prompt, tempo_bpm))
        return
    rewriting = _Rewriting(prompt, prompt.source, prompt.bars, song)
    raw = rewriting.result(set(song.dropped), tempo_bpm)
    if path.suffix == KARAOKE_SUFFIX:
        raw = as_karaoke(raw, rewriting.singer(), path.stem)
    with atomic_write(path) as temporary:
        temporary.write_bytes(raw)


class _Rewriting:
    def __init__(self, prompt: Prompt, source: MidiSource, bars: Barlines, song: Song) -> None:
        self._prompt, self._source, self._bars, self._song = prompt, source, bars, song
        self._taken = set(source.channels)
        self._words = word_events(source.events)
        self._convention = convention_of(source.events)
        self._removed: dict[int, set[int]] = defaultdict(set)
        self._added: dict[int, list[Event]] = defaultdict(list)
        self._chunks: list[Chunk] = []

    def result(self, dropped: set[int], tempo_bpm: float | None) -> bytes:
        """Return the bytes of the file."""
        of_song = dict(zip(self._song.sources, range(len(self._song.sources)), strict=True))
        for place in range(len(self._source.tracks)):
            self._remove(place, of_song.get(place))
        for place, origin in enumerate(self._song.sources):
            self._add(place, origin)
        tracks = self._source.events.tracks
        chunks = {i: self._chunk(i, chunk, dropped) for i, chunk in enumerate(tracks)}
        numbers = iter(range(len(tracks)))
        whole = [
            one if isinstance(one, bytes) else chunks[next(numbers)]
            for one in self._source.events.chunks
        ]
        kept = [one for one in whole if isinstance(one, bytes) or one is not _EMPTY]
        if tempo_bpm is not None:
            # One tempo throughout, in the first chunk: format 1 keeps the tempo map there.
            with_events = [one for one in kept if isinstance(one, Chunk)]
            for one in with_events:
                one.events = [event for event in one.events if not event.is_meta_of(TEMPO)]
            if with_events:
                quarter_us = round(US_PER_MINUTE / tempo_bpm)
                with_events[0].events.insert(0, Event(0, meta(TEMPO, quarter_us.to_bytes(3))))
        return EventFile(self._source.events.header, [*kept, *self._chunks]).to_bytes()

    def _remove(self, place: int, row: int | None) -> None:
        """Mark notes of a file's track with their words: all, or those of the new bars of `row`."""
        track = self._source.tracks[place]
        gone = np.ones(len(track.notes), np.bool_)
        if row is not None:
            bar = self._prompt.bar_of_note(place)
            new = self._song.new
            inside = bar < new.shape[1]
            gone = ~inside | new[row][np.minimum(bar, new.shape[1] - 1)]
        removed = self._removed[track.chunk]
        for note, is_gone in zip(track.notes, gone.tolist(), strict=True):
            if is_gone:
                removed.update((note.begins, note.ends))
        # Words belong to the notes that begin at their tick; titles of a karaoke file stay.
        gone_ticks = {note.onset for note in track.notes if note.begins in removed}
        chunk = self._words_chunk(place)
        words = self._words.get(chunk, ())
        of_gone = {id(one) for one in words if one.tick in gone_ticks and is_sung(one)}
        events = self._source.events.tracks[chunk].events
        self._removed[chunk].update(i for i, one in enumerate(events) if id(one) in of_gone)

    def _kept(self, track: SourceTrack) -> list[SourceNote]:
        removed = self._removed[track.chunk]
        return [note for note in track.notes if note.begins not in removed]

    def _add(self, row: int, origin: int | None) -> None:
        """Write what is new of a song's track."""
        track = self._song.piece.tracks[row]
        if origin is None:
            self._add_track(track)
            return
        old = self._source.tracks[origin]
        if row == self._song.sings:
            # The words that the file has go: it gets others.
            for number, of_chunk in self._words.items():
                events = self._source.events.tracks[number].events
                self._removed[number].update(i for i, one in enumerate(events) if one in of_chunk)
            self._added[old.chunk] += lyric_events(self._sung(row))
            return
        kept = self._kept(old)
        loud = Dynamics(kept or old.notes, by_pitch=track.instrument == DRUMS)
        chosen = self._song.new[row][self._song.piece.bar_at(track.onset)]
        # A note-off ends every note of its pitch on the channel, that of another track too.
        of_channel = [
            note
            for other in self._source.tracks
            if other.channel == old.channel
            for note in self._kept(other)
        ]
        notes = _apart(self._in_ticks(track, chosen), of_channel, loud)
        words = self._new_words(track, chosen)
        self._added[self._words_chunk(origin)] += words
        self._added[old.chunk] += _events(notes, old.channel % CHANNELS)

    def _words_chunk(self, origin: int) -> int:
        """Return the chunk with a track's words: its own chunk, or one that has only words."""
        chunk = self._source.tracks[origin].chunk
        counts = [int((track.sung != "").sum()) for track in self._prompt.piece.tracks]
        if chunk in self._words or not counts[origin] or counts[origin] < max(counts):
            return chunk
        with_notes = {track.chunk for track in self._source.tracks}
        return next((number for number in self._words if number not in with_notes), chunk)

    def _new_words(self, track: Track, chosen: BoolArray) -> list[Event]:
        """Return lyric events for the chosen notes of a track, in the encoding of the file."""
        if track.syllables is None:
            return []
        everything = np.ones(len(track), np.bool_)
        ticks, _ = self._ticks(track, everything)
        new = set(ticks[chosen].tolist())
        # Of all words, so that those of new bars begin a line where the words before end one.
        events = lyric_events(replace(track, onset=ticks), self._convention)
        return [event for event in events if event.tick in new]

    def singer(self) -> Track | None:
        """Return the track with most words, in ticks of the file; None without words."""
        tracks = self._song.piece.tracks
        sung = [row for row, track in enumerate(tracks) if track.syllables is not None]
        most = max(sung, key=lambda row: int((tracks[row].sung != "").sum()), default=None)
        return None if most is None else self._sung(most)

    def _sung(self, row: int) -> Track:
        """Return a track with its onsets in ticks of the file: where its notes begin."""
        track, origin = self._song.piece.tracks[row], self._song.sources[row]
        ticks, _ = self._ticks(track, np.ones(len(track), np.bool_))
        if row == self._song.sings and origin is not None:
            notes = {note.onset for note in self._source.tracks[origin].notes}
            ticks = nearest_onsets(ticks, np.array(sorted(notes), np.int64))
        return replace(track, onset=ticks)

    def _in_ticks(self, track: Track, chosen: BoolArray) -> list[NewNote]:
        """Return the chosen notes of a track, in ticks of the file."""
        columns = (
            *self._ticks(track, chosen),
            *(track.pitch[chosen], track.velocity[chosen]),
        )
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return [NewNote(*row) for row in rows]

    def _ticks(self, track: Track, chosen: BoolArray) -> tuple[IntArray, IntArray]:
        """Return where the chosen notes of a track begin and end, in ticks of the file."""
        steps, quarter = self._song.piece.steps_per_quarter, self._bars.ticks_per_quarter
        onset, end = (
            # To the nearest tick in integers: the same on every machine, and exact where the grid
            # fits.
            (2 * column[chosen] * quarter + steps) // (2 * steps)
            for column in (track.onset, track.end)
        )
        return self._bars.ticks(onset), self._bars.ticks(end, 1)

    def _add_track(self, track: Track) -> None:
        """Add a new track, whose notes are as loud as other tracks at that time."""
        kept = [note for one in self._source.tracks for note in self._kept(one)]
        loud = Dynamics(kept or [note for one in self._source.tracks for note in one.notes])
        everything = np.ones(len(track), np.bool_)
        notes = _apart(self._in_ticks(track, everything), [], loud)
        code = track.instrument
        # Sixteen channels a port, counted on from port to port; 0 where all are taken.
        free = (one for one in range(PORTS * CHANNELS) if one % CHANNELS != DRUM_CHANNEL)
        channel = DRUM_CHANNEL
        if code != DRUMS:
            channel = next((one for one in free if one not in self._taken), 0)
            self._taken.add(channel)
        words = self._new_words(track, everything)
        # Voices sing as the voice that was given.
        given = [
            self._source.tracks[origin].program
            for track, origin in zip(self._song.piece.tracks, self._song.sources, strict=True)
            if origin is not None and track.instrument in VOICES
        ]
        program = given[0] if given and code in VOICES else general_midi_program(code)
        number = channel % CHANNELS
        head = [Event(0, meta(NAME, instrument_title(code).encode()))]
        if channel >= CHANNELS:
            head.append(Event(0, meta(PORT, bytes((channel // CHANNELS,)))))
        head.append(Event(0, bytes((PROGRAM | number, program))))
        self._chunks.append(Chunk(_merged(head, [*words, *_events(notes, number)]), 0))

    def _chunk(self, place: int, chunk: Chunk, dropped: set[int]) -> Chunk:
        """Return a chunk with its new notes, without replaced notes and dropped tracks."""
        removed = self._removed[place]
        events = [event for i, event in enumerate(chunk.events) if i not in removed]
        end = chunk.end_ticks
        mine = [i for i, track in enumerate(self._source.tracks) if track.chunk == place]
        out = [self._source.tracks[i].channel % CHANNELS for i in mine if i in dropped]
        stay = {self._source.tracks[i].channel % CHANNELS for i in mine if i not in dropped}
        if out:
            events = [one for one in events if one.channel not in out or one.channel in stay]
        if out and not stay:
            events = [
                one for one in events if not (one.is_meta and one.raw[1] in _OF_AN_INSTRUMENT)
            ]
            if not events:
                return _EMPTY
        if self._song.piece.bars < self._prompt.piece.bars:
            bar = np.array([self._song.piece.bars])
            end = int(self._bars.ticks(self._bars.grid_ticks(bar))[0])
            # Note-offs after the end stay: without them the last notes would never stop.
            events = [one for one in events if one.tick < end or _ends_note(one)]
        return Chunk(_merged(events, self._added[place]), end)


_EMPTY = Chunk()


def _ends_note(event: Event) -> bool:
    kind = event.raw[0] & 0xF0
    return kind == NOTE_OFF or (kind == NOTE_ON and not event.raw[2])


def _events(notes: Iterable[NewNote], channel: int) -> list[Event]:
    events = []
    for note in notes:
        events.append(Event(note.onset, bytes((NOTE_ON | channel, note.pitch, note.velocity))))
        events.append(Event(note.end, bytes((NOTE_OFF | channel, note.pitch, 0))))
    return events


def _merged(old: list[Event], new: list[Event]) -> list[Event]:
    """Merge new notes into events; at equal ticks ends come before them, onsets after them."""
    # A new note that ends at a program change has to end before it, one that begins there after it.
    ranked = [(event.tick, 1, event) for event in old]
    ranked += [(event.tick, 0 if _ends_note(event) else 2, event) for event in new]
    return [event for _, _, event in sorted(ranked, key=lambda one: one[:2])]


class Dynamics:
    """The velocities of a track over time, from its notes.

    A new note gets a velocity between the means of the nearest notes on either side, by its
    distance to them. With `by_pitch`, as for drums, these are notes of its pitch if there are any.
    """

    def __init__(self, notes: Sequence[SourceNote], *, by_pitch: bool = False) -> None:
        self._all = _VelocityCurve(notes)
        self._of_pitch: dict[int, _VelocityCurve] = {}
        if by_pitch:
            for pitch in {note.pitch for note in notes}:
                self._of_pitch[pitch] = _VelocityCurve([one for one in notes if one.pitch == pitch])

    def velocity(self, tick: int, pitch: int) -> int:
        """Return the velocity of a new note."""
        return self._of_pitch.get(pitch, self._all).velocity(tick)


class _VelocityCurve:
    """The velocities of notes over time."""

    def __init__(self, notes: Sequence[SourceNote]) -> None:
        rows = sorted((note.onset, note.velocity) for note in notes)
        self._onset: IntArray = np.array([onset for onset, _ in rows], np.int64)
        self._velocity: IntArray = np.array([velocity for _, velocity in rows], np.int64)

    def velocity(self, tick: int) -> int:
        """Return the velocity at a tick, between the means of the notes on either side."""
        place = int(np.searchsorted(self._onset, tick))
        before = slice(max(0, place - _NEIGHBOURS), place)
        after = slice(place, place + _NEIGHBOURS)
        sides = [
            (abs(float(self._onset[side].mean()) - tick), float(self._velocity[side].mean()))
            for side in (before, after)
            if len(self._onset[side])
        ]
        if not sides:
            return DEFAULT_VELOCITY
        near, far = sides[0], sides[-1]
        apart = near[0] + far[0]
        share = near[0] / apart if apart else 0.0
        return min(127, max(1, round(near[1] + (far[1] - near[1]) * share)))


def _apart(notes: list[NewNote], kept: list[SourceNote], loud: Dynamics) -> list[NewNote]:
    """Return new notes, cut so that none overlaps a kept note of the same pitch and channel.

    A new note ends where the next kept one begins; where a kept one sounds it begins after it.
    """
    by_pitch: dict[int, list[SourceNote]] = defaultdict(list)
    for one in kept:
        by_pitch[one.pitch].append(one)
    found = []
    for note in notes:
        first, last = note.onset, note.end
        for one in by_pitch[note.pitch]:
            if one.onset <= first < one.end:
                first = one.end
            elif first < one.onset < last:
                last = one.onset
        if first < last:
            velocity = note.velocity or loud.velocity(first, note.pitch)
            found.append(NewNote(first, last, note.pitch, velocity))
    return found
