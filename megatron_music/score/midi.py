"""MIDI files to notes and back: our own reader reads (`midi_file`), pretty_midi writes."""

from pathlib import Path

import pretty_midi

from megatron_music.files import complete
from megatron_music.score.general_midi import instrument_title
from megatron_music.score.instruments import (
    DRUMS,
    VOICES,
    general_midi_program,
)
from megatron_music.score.midi_columns import US_PER_MINUTE
from megatron_music.score.midi_file import MidiFile, parse_file, read_file
from megatron_music.score.notes import DEFAULT_VELOCITY, Piece, Score, Track

DEFAULT_TEMPO_BPM = 120.0
SLOWEST_BPM, FASTEST_BPM = 4, 1000
"""A file's tempo beyond these is damage: the default stands for it."""

_WRITTEN_TICKS_PER_QUARTER = 480
_PITCHED_CHANNELS = 15


def read_midi(path: Path) -> Score:
    """Read a MIDI file; raises MidiError if it is missing, damaged, empty or absurd."""
    return score_of(read_file(path))


def parse_midi(raw: bytes, name: str) -> Score:
    """Read the bytes of a MIDI file called `name`; raises MidiError with its reason.

    A track in the choir's program that carries a voice's name is that voice of a chorale. Times
    stay in ticks; the tempo is the first that the file sets.
    """
    return score_of(parse_file(raw, name))


def score_of(midi: MidiFile) -> Score:
    """Return the music of a file; its tempo is the first that it sets."""
    tracks = (Track(one.instrument, one.onset, one.end, one.pitch) for one in midi.tracks)
    _, quarters = midi.tempos()
    tempo_bpm = US_PER_MINUTE / int(quarters[0]) if len(quarters) else DEFAULT_TEMPO_BPM
    usual = SLOWEST_BPM <= tempo_bpm <= FASTEST_BPM
    return Score(
        midi.ticks_per_quarter,
        tuple(tracks),
        midi.metres,
        tempo_bpm if usual else DEFAULT_TEMPO_BPM,
    )


def write_midi(piece: Piece, path: Path, tempo_bpm: float = DEFAULT_TEMPO_BPM) -> None:
    """Write a piece as a MIDI file with named tracks, programs, tempo, metres; raises WriteError.

    Reading it back and quantizing gives the piece again. Where there are more tracks than channels
    the drums come last; of pitched tracks those beyond the fifteenth share a channel.
    """
    midi = pretty_midi.PrettyMIDI(initial_tempo=tempo_bpm, resolution=_WRITTEN_TICKS_PER_QUARTER)
    step_s = 60.0 / tempo_bpm / piece.steps_per_quarter
    for bar, start in enumerate(piece.bar_starts[:-1].tolist() or [0]):
        if not bar or piece.metre_of(bar) != piece.metre_of(bar - 1):
            sign = pretty_midi.TimeSignature(*piece.metre_of(bar), start * step_s)
            midi.time_signature_changes.append(sign)
    named = list(zip(piece.tracks, track_names(piece), strict=True))
    if len(named) > _PITCHED_CHANNELS:  # given in turn, and counted on past the drums
        named.sort(key=lambda one: one[0].instrument == DRUMS)
    for track, name in named:
        midi.instruments.append(_written_track(track, name, step_s))
    with complete(path) as temporary:
        midi.write(str(temporary))


def track_names(piece: Piece) -> list[str]:
    """Name the tracks: the second of an instrument is "... 2", but for voices: names mean those."""
    codes = [track.instrument for track in piece.tracks]
    turns = [codes[: place + 1].count(code) for place, code in enumerate(codes)]
    return [
        instrument_title(code) + (f" {turn}" if turn > 1 and code not in VOICES else "")
        for code, turn in zip(codes, turns, strict=True)
    ]


def _written_track(track: Track, name: str, step_s: float) -> pretty_midi.Instrument:
    code = track.instrument
    program, drums = general_midi_program(code), code == DRUMS
    instrument = pretty_midi.Instrument(program, drums, name)
    instrument.notes = [
        pretty_midi.Note(DEFAULT_VELOCITY, pitch, onset * step_s, end * step_s)
        for pitch, onset, end in zip(
            track.pitch.tolist(), track.onset.tolist(), track.end.tolist(), strict=True
        )
    ]
    return instrument
