"""A MIDI file as stereo sound: midirenderer plays it with the SoundFont in pretty_midi's wheel."""

import io
import wave
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from megatron_music.errors import MidiError, MissingError
from megatron_music.files import atomic_write
from megatron_music.score.instruments import DRUMS
from megatron_music.score.midi_columns import (
    BEND,
    CONTROL_KIND,
    CONTROL_TICK,
    CONTROLLER,
    DRUM_CHANNEL,
)
from megatron_music.score.midi_reader import MidiFile, MidiTrack, read_file

FloatArray = npt.NDArray[np.floating[Any]]

SAMPLE_RATE_HZ = 48_000
LONGEST_MINUTES = 30
PEAK = 0.9
"""Of full scale: the level that the loudest sample of a file is brought to."""

PLAYER = "midirenderer, SoundFont TimGM6mb"

_LARGEST_FILE_BYTES = 8 << 20
_FULL_SCALE = 32_767
_TICKS_PER_QUARTER = 9_600
_TICKS_PER_S = 2 * _TICKS_PER_QUARTER
"""At the tempo of a MIDI file that names none, 120 quarter notes a minute."""

_RING_S = 2.0
_SILENCE = 1e-3
"""What follows the last sample above this share of the loudest is cut off."""

_MELODIC_CHANNELS = (0, 1, 2, 3, 4, 5, 6, 7)
"""Of 16 channels: more at once could need more than the 64 voices of the synthesizer."""

_BANK, _BANK_FINE, _VOLUME, _VOLUME_FINE = 0, 32, 7, 39
_USUAL_VOLUME = 100
_SOFTEST = 4
_END_OF_TRACK = b"\xff\x2f\x00"

_Event = tuple[int, int, bytes]
"""When, in ticks; which comes first at one tick; the bytes."""

_NOTE_OFF_FIRST, _SETTING_SECOND, _NOTE_ON_LAST = range(3)


def render_audio(midi: Path, wav: Path) -> str:
    """Play a MIDI file into a 16-bit stereo WAV file; returns what it was played with.

    The loudest sample is brought to PEAK, so nothing clips. Raises MidiError for a file that is
    missing, damaged, without sound or longer than LONGEST_MINUTES, MissingError and WriteError.
    """
    file = _read(midi)
    # The synthesizer plays 16 channels at once: each track has a channel of its own in a pass.
    melodic = [track for track in file.tracks if track.instrument != DRUMS]
    drums = [track for track in file.tracks if track.instrument == DRUMS]
    width = len(_MELODIC_CHANNELS)
    count = max(-(-len(melodic) // width), len(drums))
    passes = [melodic[i * width : (i + 1) * width] + drums[i : i + 1] for i in range(count)]
    # Parts are added up one by one, so that two are in memory at a time.
    mixed: FloatArray = np.zeros((0, 2), dtype=np.float32)
    for part in (_play(file, tracks) for tracks in passes):
        longer, shorter = (mixed, part) if len(mixed) >= len(part) else (part, mixed)
        longer[: len(shorter)] += shorter
        mixed = longer
    loudest = float(np.abs(mixed).max(initial=0.0))
    if loudest == 0:
        raise MidiError(f"{midi} gives no sound: {PLAYER} has none for its notes")
    gain = PEAK / loudest
    count = _sounding_samples(mixed * gain)
    words = np.rint(mixed[:count] * (gain * _FULL_SCALE)).astype("<i2")
    with atomic_write(wav) as temporary, wave.open(str(temporary), "wb") as written:
        written.setnchannels(2)
        written.setsampwidth(2)
        written.setframerate(SAMPLE_RATE_HZ)
        written.writeframes(words.tobytes())
    return PLAYER


def play_tracks(midi: Path) -> list[FloatArray]:
    """Return the sound of each track [samples, 2], all of one length; together as in the WAV file.

    Raises MidiError and MissingError as `render_audio`.
    """
    file = _read(midi)
    parts = [_play(file, [track]) for track in file.tracks]
    together = np.zeros((max(map(len, parts)), 2), dtype=np.float32)
    for part in parts:
        together[: len(part)] += part
    gain = PEAK / max(float(np.abs(together).max()), 1.0 / _FULL_SCALE)
    count = _sounding_samples(together * gain)
    return [
        np.pad(part[:count], ((0, max(0, count - len(part))), (0, 0))) * np.float32(gain)
        for part in parts
    ]


def soundfont() -> Path:
    """Return the SoundFont that comes in pretty_midi's wheel; raises MissingError."""
    spec = find_spec("pretty_midi")
    font = Path(spec.origin or "").with_name("TimGM6mb.sf2") if spec else Path()
    if not font.is_file():
        raise MissingError(
            "sound needs the SoundFont in pretty_midi; install it: pip install pretty_midi"
        )
    return font


def _read(path: Path) -> MidiFile:
    """Read a file with all that changes how it sounds."""
    if path.is_file() and (size := path.stat().st_size) > _LARGEST_FILE_BYTES:
        raise MidiError(f"{path} has {size:,} bytes; up to {_LARGEST_FILE_BYTES:,} can be played")
    midi = read_file(path)
    minutes = max(float(midi.seconds(track.end).max()) for track in midi.tracks) / 60
    if not minutes <= LONGEST_MINUTES:
        raise MidiError(
            f"{path} plays for {minutes:,.0f} minutes; up to {LONGEST_MINUTES} can be rendered: "
            "cut it first, or draw it only (--png)"
        )
    return midi


def _play(midi: MidiFile, tracks: Sequence[MidiTrack]) -> FloatArray:
    """Play tracks, softer if need be: the synthesizer clips at 16 bits. Returns (samples, 2)."""
    try:
        from midirenderer import render_wave_from
    except ImportError as fault:
        lacking = "sound needs midirenderer; install it: pip install midirenderer"
        raise MissingError(lacking) from fault
    font = soundfont().read_bytes()
    for halvings in range(_SOFTEST):
        played = render_wave_from(font, _midi_bytes(midi, tracks, halvings))
        with wave.open(io.BytesIO(played)) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
        # In 32 bits: of -32,768, the clipped extreme, int16 has no absolute value.
        if np.abs(samples.astype(np.int32)).max(initial=0) < _FULL_SCALE:
            break
    return samples * np.float32(4**halvings)  # loudness is the square of a channel's volume


def _midi_bytes(midi: MidiFile, tracks: Sequence[MidiTrack], halvings: int) -> bytes:
    """Write tracks as a MIDI file of one chunk, each on another channel, times in seconds."""
    from megatron_music.score.midi_events import variable_length

    events: list[_Event] = []
    channels = iter(_MELODIC_CHANNELS)
    for track in tracks:
        channel = DRUM_CHANNEL if track.instrument == DRUMS else next(channels)
        events += _settings(midi, track, channel, halvings)
        events += _notes(midi, track, channel)
    events.sort(key=lambda event: event[:2])
    last = max(event[0] for event in events) + round(_RING_S * _TICKS_PER_S)
    body = bytearray()
    now = 0
    for tick, _, raw in [*events, (last, 0, _END_OF_TRACK)]:
        body += variable_length(tick - now) + raw
        now = tick
    header = b"MThd" + bytes([0, 0, 0, 6, 0, 0, 0, 1]) + _TICKS_PER_QUARTER.to_bytes(2)
    return header + b"MTrk" + len(body).to_bytes(4) + bytes(body)


def _settings(midi: MidiFile, track: MidiTrack, channel: int, halvings: int) -> list[_Event]:
    """Return a track's programme, controllers and bends; its volume is halved this many times."""
    events: list[_Event] = [(0, _SETTING_SECOND, bytes([0xC0 | channel, track.program]))]
    events += _volume(0, channel, _USUAL_VOLUME, halvings)
    ticks, channels, _, _ = midi.controls
    mine = midi.controls[:, (channels == track.channel) & (ticks <= track.end.max())]
    times = _sounding_ticks(midi, mine[CONTROL_TICK])
    for kind, value, tick in zip(*mine[CONTROL_KIND:].tolist(), times, strict=True):
        first, second = value >> 7 & 0x7F, value & 0x7F
        if kind == BEND:
            events.append((tick, _SETTING_SECOND, bytes([BEND | channel, first, second])))
        elif kind == CONTROLLER and first == _VOLUME:
            events += _volume(tick, channel, second, halvings)
        elif kind == CONTROLLER and first not in (_BANK, _BANK_FINE, _VOLUME_FINE):
            events.append((tick, _SETTING_SECOND, bytes([CONTROLLER | channel, first, second])))
    return events


def _volume(tick: int, channel: int, value: int, halvings: int) -> list[_Event]:
    fine = value << 7 >> halvings
    pairs = ((_VOLUME, fine >> 7), (_VOLUME_FINE, fine & 0x7F))
    return [(tick, _SETTING_SECOND, bytes([CONTROLLER | channel, *pair])) for pair in pairs]


def _notes(midi: MidiFile, track: MidiTrack, channel: int) -> list[_Event]:
    """Return note-ons and note-offs; a note ends where its pitch is struck again.

    Of two notes of one pitch and onset the longer is kept.
    """
    events: list[_Event] = []
    struck_again: dict[int, int] = {}
    order = np.lexsort((track.end, track.onset))
    columns = (
        _sounding_ticks(midi, track.onset[order]),
        _sounding_ticks(midi, track.end[order]),
        (track.pitch[order] & 0x7F).tolist(),
        np.clip(track.velocity[order], 1, 0x7F).tolist(),
    )
    # From the last note to the first, so that the next onset of a pitch is known at each.
    for onset, end, pitch, velocity in reversed(list(zip(*columns, strict=True))):
        if struck_again.get(pitch) == onset:
            continue
        off = max(onset + 1, min(end, struck_again.get(pitch, end)))
        struck_again[pitch] = onset
        events.append((off, _NOTE_OFF_FIRST, bytes([0x80 | channel, pitch, 0])))
        events.append((onset, _NOTE_ON_LAST, bytes([0x90 | channel, pitch, velocity])))
    return events


def _sounding_ticks(midi: MidiFile, ticks: npt.NDArray[np.int64]) -> list[int]:
    sounding: list[int] = np.rint(midi.seconds(ticks) * _TICKS_PER_S).astype(np.int64).tolist()
    return sounding


def _sounding_samples(samples: FloatArray) -> int:
    """Return how many samples there are up to the last that can be heard."""
    sounding = np.flatnonzero(np.abs(samples).max(axis=1, initial=0) > _SILENCE * PEAK)
    return int(sounding[-1]) + 1 if len(sounding) else 0
