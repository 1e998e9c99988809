"""Write MIDI files: a piece by pretty_midi, a score event by event."""

from dataclasses import replace
from pathlib import Path

import pretty_midi

from megatron_music.files import atomic_write
from megatron_music.score.general_midi import instrument_title
from megatron_music.score.instruments import DRUMS, VOICES, general_midi_program
from megatron_music.score.karaoke import KARAOKE_SUFFIX, karaoke_chunk, lyric_events
from megatron_music.score.midi_columns import DRUM_CHANNEL, US_PER_MINUTE
from megatron_music.score.midi_events import (
    METRE,
    NAME,
    NOTE_OFF,
    NOTE_ON,
    PROGRAM,
    TEMPO,
    Chunk,
    Event,
    EventFile,
    meta,
    parse_events,
)
from megatron_music.score.notes import Piece, Score, Tempo, Track

_WRITTEN_TICKS_PER_QUARTER = 480
_PITCHED_CHANNELS = (*range(9), *range(10, 16))
_CLOCKS = bytes((24, 8))
"""Of a metronome's click, and 32nd notes a quarter: as all files have them."""


def write_midi(piece: Piece, path: Path, tempo_bpm: float | None = None) -> None:
    """Write a piece as a MIDI file with named tracks, programs, metres, words; raises WriteError.

    With `tempo_bpm` all of it has that tempo; else the piece's own, 120 where it has none. Notes
    have their velocities, those without one the default. Reading the file back and quantizing
    gives the piece again. Where there are more tracks than channels the drums come last; of pitched
    tracks those beyond the fifteenth share a channel. Words are lyric events of their track, or in
    a `.kar` file a track of text events: those of the track that has most.
    """
    tempos: list[Event] = []
    if tempo_bpm is None:
        tempo_bpm = US_PER_MINUTE / piece.tempo_of(0)
        starts = piece.bar_starts * _WRITTEN_TICKS_PER_QUARTER // piece.steps_per_quarter
        tempos = [
            Event(int(starts[bar]), meta(TEMPO, piece.tempo_of(bar).to_bytes(3)))
            for bar in range(1, piece.bars)
            if piece.tempo_of(bar) != piece.tempo_of(bar - 1)
        ]
    midi = pretty_midi.PrettyMIDI(initial_tempo=tempo_bpm, resolution=_WRITTEN_TICKS_PER_QUARTER)
    step_s = 60.0 / tempo_bpm / piece.steps_per_quarter
    for bar, start in enumerate(piece.bar_starts[:-1].tolist() or [0]):
        if not bar or piece.metre_of(bar) != piece.metre_of(bar - 1):
            sign = pretty_midi.TimeSignature(*piece.metre_of(bar), start * step_s)
            midi.time_signature_changes.append(sign)
    named = list(zip(piece.tracks, track_names(piece), strict=True))
    if len(named) > len(_PITCHED_CHANNELS):  # given in turn, and counted on past the drums
        named.sort(key=lambda one: one[0].instrument == DRUMS)
    sung = []
    for track, name in named:
        is_drums = track.instrument == DRUMS
        program = general_midi_program(track.instrument)
        instrument = pretty_midi.Instrument(program, is_drums, name)
        columns = (track.loudness, track.pitch, track.onset * step_s, track.end * step_s)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        instrument.notes = [pretty_midi.Note(*row) for row in rows]
        midi.instruments.append(instrument)
        onset = track.onset * _WRITTEN_TICKS_PER_QUARTER // piece.steps_per_quarter
        sung.append(replace(track, onset=onset))
    with atomic_write(path) as temporary:
        midi.write(str(temporary))
        if tempos or piece.is_sung:
            karaoke = path.suffix.lower() == KARAOKE_SUFFIX
            raw = _with_events(temporary.read_bytes(), tempos, sung, path.stem if karaoke else None)
            temporary.write_bytes(raw)


def _with_events(raw: bytes, tempos: list[Event], sung: list[Track], title: str | None) -> bytes:
    """Return a MIDI file with further tempos, and words: pretty_midi has no way to write them.

    With a title the words are those of karaoke.
    """
    file = parse_events(raw)
    added: list[list[Event]] = [tempos, *([] for _ in sung)]
    if title is None:
        added[1:] = [lyric_events(track) for track in sung]
    elif any(track.syllables is not None for track in sung):
        singer = max(sung, key=lambda track: int((track.sung != "").sum()))
        file.chunks.insert(1, karaoke_chunk(singer, title))
        added.insert(1, [])
    for chunk, events in zip(file.tracks, added, strict=True):
        # Words come before their notes, and tempos after what is at their tick already.
        chunk.events = [*chunk.events, *events] if events is tempos else [*events, *chunk.events]
    return file.to_bytes()


def track_names(piece: Piece) -> list[str]:
    """Name the tracks: the second of an instrument is "... 2", but for voices: names mean those."""
    codes = [track.instrument for track in piece.tracks]
    turns = [codes[: place + 1].count(code) for place, code in enumerate(codes)]
    return [
        instrument_title(code) + (f" {turn}" if turn > 1 and code not in VOICES else "")
        for code, turn in zip(codes, turns, strict=True)
    ]


def midi_bytes(score: Score) -> bytes:
    """Return a MIDI file of a score's notes, words, metres, tempi, a named track each."""
    tempos = score.tempos or (Tempo(0, round(US_PER_MINUTE / score.tempo_bpm)),)
    tempi = [Event(one.onset_ticks, meta(TEMPO, one.quarter_us.to_bytes(3))) for one in tempos]
    metres = [
        Event(
            metre.onset_ticks,
            meta(METRE, bytes((metre.numerator, metre.denominator.bit_length() - 1)) + _CLOCKS),
        )
        for metre in score.metres
    ]
    chunks: list[Chunk | bytes] = [Chunk([*tempi, *metres])]
    for number, track in enumerate(score.tracks):
        channel = _PITCHED_CHANNELS[number % len(_PITCHED_CHANNELS)]
        if track.instrument == DRUMS:
            channel = DRUM_CHANNEL
        name = meta(NAME, instrument_title(track.instrument).encode())
        program = bytes((PROGRAM | channel, general_midi_program(track.instrument)))
        columns = (track.onset, track.end, track.pitch, track.loudness)
        # Sorted by their status too: at one tick notes end (0x80) before others begin (0x90).
        notes = sorted(
            event
            for onset, end, pitch, velocity in zip(*(one.tolist() for one in columns), strict=True)
            for event in (
                Event(onset, bytes((NOTE_ON | channel, pitch, velocity))),
                Event(end, bytes((NOTE_OFF | channel, pitch, 0))),
            )
        )
        # `to_bytes` sorts by ticks alone: at one tick words stay before the notes that sing them.
        chunks.append(Chunk([Event(0, name), Event(0, program), *lyric_events(track), *notes]))
    # The number of chunks, 0 here, is written by `to_bytes`.
    header = (1).to_bytes(2) + bytes(2) + score.ticks_per_quarter.to_bytes(2)
    return EventFile(header, chunks).to_bytes()
