"""A MIDI file as sound: fluidsynth where the machine has it, else plain sine waves."""

import sys
import wave
from collections.abc import Iterable
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pretty_midi

from megatron_music.errors import MidiError
from megatron_music.files import complete
from megatron_music.score.instruments import DRUMS
from megatron_music.score.midi_columns import BEND, CONTROL_KIND, CONTROL_TICK, CONTROLLER
from megatron_music.score.midi_file import MidiFile, MidiTrack, read_file

FloatArray = npt.NDArray[np.floating[Any]]

SAMPLE_RATE = 44_100
LONGEST_MINUTES = 30
PEAK = 0.9
"""Of full scale: what the loudest sample of a file is brought to."""

FLUIDSYNTH = "fluidsynth, SoundFont TimGM6mb"
SINE = "sine waves"

_LARGEST_FILE_BYTES = 8 << 20
_NO_BEND = 1 << 13
_GAINS = (0.2, 0.05, 0.0125)
_FULL_SCALE = 32_767


def render_audio(midi: Path, wav: Path) -> str:
    """Play a MIDI file into a 16-bit mono WAV file; returns what it was played with.

    The loudest sample is brought to PEAK, so nothing clips. Raises MidiError for a file that is
    missing, damaged, without sound or longer than LONGEST_MINUTES, and WriteError.
    """
    instruments = _read(midi)
    name, play = (FLUIDSYNTH, _play) if has_fluidsynth() else (SINE, _hum)
    samples = _mix(play(instrument) for instrument in instruments)
    loudest = float(np.abs(samples).max(initial=0.0))
    if loudest == 0:
        raise MidiError(f"{midi} gives no sound played with {name}; drums need libfluidsynth3")
    _write(samples * (PEAK / loudest), wav)
    return name


def has_fluidsynth() -> bool:
    """Tell whether the fluidsynth library can be loaded."""
    try:
        with redirect_stdout(sys.stderr):  # pyfluidsynth prints what it found where CI is set
            import_module("fluidsynth")
    except ImportError:
        return False
    return True


def _read(path: Path) -> list[pretty_midi.Instrument]:
    """Read a file's tracks with all that changes how they sound."""
    if path.is_file() and (size := path.stat().st_size) > _LARGEST_FILE_BYTES:
        raise MidiError(f"{path} has {size:,} bytes; up to {_LARGEST_FILE_BYTES:,} can be played")
    midi = read_file(path)
    instruments = [_instrument(track, midi) for track in midi.tracks]
    minutes = max(instrument.get_end_time() for instrument in instruments) / 60
    if not minutes <= LONGEST_MINUTES:
        raise MidiError(
            f"{path} plays for {minutes:,.0f} minutes; up to {LONGEST_MINUTES} can be rendered: "
            "cut it first, or draw it only (--png)"
        )
    return instruments


def _instrument(track: MidiTrack, midi: MidiFile) -> pretty_midi.Instrument:
    instrument = pretty_midi.Instrument(track.program, track.instrument == DRUMS)
    columns = (track.velocity, track.pitch, midi.seconds(track.onset), midi.seconds(track.end))
    rows = zip(*(column.tolist() for column in columns), strict=True)
    instrument.notes = [pretty_midi.Note(*row) for row in rows]
    ticks, channels, _, _ = midi.controls
    mine = midi.controls[:, (channels == track.channel) & (ticks <= track.end.max())]
    times = midi.seconds(mine[CONTROL_TICK]).tolist()
    kinds, values = mine[CONTROL_KIND:].tolist()
    for kind, value, time_s in zip(kinds, values, times, strict=True):
        if kind == CONTROLLER:
            change = pretty_midi.ControlChange(value >> 7, value & 0x7F, time_s)
            instrument.control_changes.append(change)
        elif kind == BEND:  # of its 14 bits the lower 7 come first
            bend = ((value & 0x7F) << 7 | value >> 7) - _NO_BEND
            instrument.pitch_bends.append(pretty_midi.PitchBend(bend, time_s))
    return instrument


def _play(instrument: pretty_midi.Instrument) -> FloatArray:
    """Play on a fluidsynth of its own, softer if need be: it clips inside, at 16 bits."""
    import fluidsynth

    samples = np.zeros(0, dtype=np.float32)
    for gain in _GAINS:
        synthesizer = fluidsynth.Synth(gain=gain, samplerate=SAMPLE_RATE)
        try:
            font = synthesizer.sfload(str(soundfont()))
            samples = instrument.fluidsynth(synthesizer=synthesizer, sfid=font)
        finally:
            synthesizer.delete()
        if np.abs(samples).max(initial=0) < _FULL_SCALE:
            break
    return (samples / gain).astype(np.float32)


def _hum(instrument: pretty_midi.Instrument) -> FloatArray:
    """Play in sine waves, without bends: their cost grows with notes times bends."""
    instrument.pitch_bends = []
    samples: FloatArray = instrument.synthesize(fs=SAMPLE_RATE).astype(np.float32)
    return samples


def soundfont() -> Path:
    """Return the SoundFont that comes in pretty_midi's wheel."""
    return Path(pretty_midi.__file__).with_name("TimGM6mb.sf2")


def _mix(parts: Iterable[FloatArray]) -> FloatArray:
    """Add up the parts one by one, so that two are in memory at a time."""
    mixed = np.zeros(0, dtype=np.float32)
    for part in parts:
        longer, shorter = (mixed, part) if len(mixed) >= len(part) else (part, mixed)
        longer[: len(shorter)] += shorter
        mixed = longer
    return mixed


def _write(samples: FloatArray, path: Path) -> None:
    words = np.rint(samples * _FULL_SCALE).astype("<i2")
    with complete(path) as temporary, wave.open(str(temporary), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(words.tobytes())
