"""MIDI files to notes and back: symusic reads, pretty_midi writes."""

import math
from pathlib import Path

import numpy as np
import pretty_midi
import symusic

from megatron_music.errors import MidiError
from megatron_music.files import complete
from megatron_music.score.instruments import (
    CHOIR_PROGRAM,
    DRUMS,
    VOICES,
    general_midi_program,
    instrument_name,
    voice_named,
)
from megatron_music.score.notes import Metre, Piece, Score, Track

LONGEST_QUARTERS = 40_000
"""10,000 bars of 4/4, over five hours: a note beyond that is damage, not music."""

DEFAULT_TEMPO_BPM = 120.0
_WRITTEN_TICKS_PER_QUARTER = 480
_WRITTEN_VELOCITY = 90
_PITCHED_CHANNELS = 15
_RMID_HEADER_BYTES = 20
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
    (b"ctmf", "a Creative music file"),
)
"""What files that are not MIDI begin with, in small letters, and what they are."""


def read_midi(path: Path) -> Score:
    """Read a MIDI file; raises MidiError if it is missing, damaged, empty or absurd."""
    try:
        if path.exists() and not path.is_file():
            raise MidiError(f"{path} is no file; give a MIDI file", "unreadable")
        raw = path.read_bytes()
    except OSError as fault:
        message = f"cannot read {path}: {fault.strerror}; check the path"
        raise MidiError(message, "unreadable") from None
    return parse_midi(raw, str(path))


def parse_midi(raw: bytes, name: str) -> Score:
    """Read the bytes of a MIDI file called `name`; raises MidiError with its reason.

    Drums are what plays on channel 10, whatever its program; a track in the choir's program that
    carries a voice's name is that voice of a chorale. Times stay in ticks.
    """
    raw = _midi_in(raw, name)
    try:
        source: symusic.core.ScoreTick = symusic.core.ScoreTick.from_midi(raw, sanitize_data=True)
    except Exception as fault:  # symusic raises bare RuntimeErrors of many kinds
        how = " ".join(str(fault).replace(": iostream error", "").split()) or type(fault).__name__
        how = how.removeprefix("MiniMidi: ")
        raise MidiError(f"{name} is not a sound MIDI file ({how}); export it again") from None
    if source.ticks_per_quarter <= 0:
        raise MidiError(
            f"{name} counts {source.ticks_per_quarter} ticks a quarter note; it must be 1 or more",
            "timing",
        )
    tracks = tuple(_read_track(track) for track in source.tracks if len(track.notes))
    _check_bounds(tracks, source.ticks_per_quarter, name)
    metres = tuple(
        Metre(sign.time, sign.numerator, sign.denominator) for sign in source.time_signatures
    )
    return Score(source.ticks_per_quarter, tracks, metres, _first_tempo(source))


def _midi_in(raw: bytes, name: str) -> bytes:
    """Return the MIDI data of a file, or refuse it by its first bytes if it has none in beats."""
    if not raw:
        raise MidiError(f"{name} is an empty file; export it again", "empty")
    midi = raw[_RMID_HEADER_BYTES:] if raw.startswith(b"RIFF") else raw
    if not midi.startswith(b"MThd"):
        start = raw[:64].lstrip().lower()
        kind = next((kind for magic, kind in _OTHERS if start.startswith(magic)), "something else")
        raise MidiError(f"{name} is {kind} and not a MIDI file, whatever its name says", "foreign")
    format_number, chunks = midi[8:10], int.from_bytes(midi[10:12])
    if format_number == b"\x00\x02" and chunks > 1:
        raise MidiError(
            f"{name} holds {chunks} separate patterns (format 2), which do not sound together; "
            "export them one by one",
            "format",
        )
    if len(midi) > 13 and midi[12] >= 0x80:
        raise MidiError(
            f"{name} counts time in film frames (SMPTE), not in beats; export it with beats",
            "timing",
        )
    return midi


def _read_track(track: symusic.core.TrackTick) -> Track:
    notes = track.notes.numpy()
    onset = notes["time"].astype(np.int64)
    end = onset + notes["duration"].astype(np.int64)
    return Track(_instrument(track), onset, end, notes["pitch"].astype(np.int64))


def _instrument(track: symusic.core.TrackTick) -> int:
    if track.is_drum:
        return DRUMS
    voice = voice_named(track.name) if track.program == CHOIR_PROGRAM else None
    return track.program if voice is None else voice


def _check_bounds(tracks: tuple[Track, ...], ticks_per_quarter: int, name: str) -> None:
    if not tracks:
        raise MidiError(f"{name} holds no notes; there is nothing to encode", "silent")
    longest_ticks = LONGEST_QUARTERS * ticks_per_quarter
    for track in tracks:
        if not 0 <= track.instrument <= VOICES[-1]:
            raise MidiError(f"{name} asks for program {track.instrument}; programs are 0..127")
        if track.pitch.min() < 0 or track.pitch.max() > 127:
            raise MidiError(f"{name} has a pitch outside 0..127; export it again")
        if track.onset.min() < 0 or (track.end < track.onset).any():
            raise MidiError(f"{name} has a note that ends before it begins; export it again")
        if track.end.max() > longest_ticks:
            bars = int(track.end.max()) // (4 * ticks_per_quarter)
            raise MidiError(
                f"{name} has a note {bars} bars in; the limit is {LONGEST_QUARTERS // 4} bars",
                "large",
            )


def _first_tempo(source: symusic.core.ScoreTick) -> float:
    tempo = source.tempos[0].qpm if len(source.tempos) else DEFAULT_TEMPO_BPM
    return tempo if math.isfinite(tempo) and 4 <= tempo <= 1000 else DEFAULT_TEMPO_BPM


def write_midi(piece: Piece, path: Path, tempo_bpm: float = DEFAULT_TEMPO_BPM) -> None:
    """Write a piece as a MIDI file with named tracks, programs, tempo and 4/4; raises WriteError.

    Reading it back and quantizing gives the piece again. Where there are more tracks than channels
    the drums come last; of pitched tracks those beyond the fifteenth share a channel.
    """
    midi = pretty_midi.PrettyMIDI(initial_tempo=tempo_bpm, resolution=_WRITTEN_TICKS_PER_QUARTER)
    midi.time_signature_changes.append(pretty_midi.TimeSignature(4, 4, 0.0))
    step_s = 60.0 / tempo_bpm / piece.steps_per_quarter
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
        track_name(code) + (f" {turn}" if turn > 1 and code not in VOICES else "")
        for code, turn in zip(codes, turns, strict=True)
    ]


def _written_track(track: Track, name: str, step_s: float) -> pretty_midi.Instrument:
    code = track.instrument
    program, drums = general_midi_program(code), code == DRUMS
    instrument = pretty_midi.Instrument(program, drums, name)
    instrument.notes = [
        pretty_midi.Note(_WRITTEN_VELOCITY, pitch, onset * step_s, end * step_s)
        for pitch, onset, end in zip(
            track.pitch.tolist(), track.onset.tolist(), track.end.tolist(), strict=True
        )
    ]
    return instrument


def track_name(code: int) -> str:
    """Return what a person calls an instrument: a voice's name, or General MIDI's."""
    if code in VOICES:
        return instrument_name(code)
    return "Drums" if code == DRUMS else str(pretty_midi.program_to_instrument_name(code))
