"""MIDI files as sound: audible, unclipped, of the right length, or refused in one line."""

import sys
import types
import wave
from ctypes.util import find_library
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pretty_midi
import pytest

from megatron_music.errors import MidiError, WriteError
from megatron_music.score import audio
from megatron_music.score.audio import LONGEST_MINUTES, PEAK, SAMPLE_RATE, render_audio, soundfont
from tests.midi_bytes import ONE_NOTE, midi_bytes, note, program, riff

CHOIR = 52


def write(path: Path, notes: list[tuple[float, float, int]], drums: bool = False) -> Path:
    midi = pretty_midi.PrettyMIDI()
    part = pretty_midi.Instrument(CHOIR, is_drum=drums)
    part.notes = [pretty_midi.Note(127, pitch, start, end) for start, end, pitch in notes]
    midi.instruments.append(part)
    midi.write(str(path))
    return path


def samples(path: Path) -> npt.NDArray[np.int16]:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        assert file.getframerate() == SAMPLE_RATE
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


@pytest.fixture
def without_fluidsynth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "has_fluidsynth", lambda: False)


def test_it_says_what_played_and_uses_fluidsynth_where_it_can(tmp_path: Path) -> None:
    midi = write(tmp_path / "a.mid", [(0, 1, 60)])
    expected = "fluidsynth, SoundFont TimGM6mb" if find_library("fluidsynth") else "sine waves"
    assert render_audio(midi, tmp_path / "a.wav") == expected


def test_held_choir_chords_do_not_clip(tmp_path: Path) -> None:
    chord = [(0.0, 4.0, pitch) for pitch in range(36, 96, 2)]
    render_audio(write(tmp_path / "a.mid", chord), tmp_path / "a.wav")
    loudest = int(np.abs(samples(tmp_path / "a.wav").astype(int)).max())
    assert loudest == pytest.approx(PEAK * 32_767, abs=1)
    at_the_peak = np.mean(np.abs(samples(tmp_path / "a.wav").astype(int)) >= loudest - 1)
    assert at_the_peak < 1e-3


@pytest.mark.usefixtures("without_fluidsynth")
def test_a_note_has_its_pitch_and_its_place(tmp_path: Path) -> None:
    midi = write(tmp_path / "a.mid", [(1.0, 2.0, 69)])
    assert render_audio(midi, tmp_path / "a.wav") == "sine waves"
    sound = samples(tmp_path / "a.wav").astype(float)
    assert np.abs(sound[: int(0.98 * SAMPLE_RATE)]).max() == 0
    spectrum = np.abs(np.fft.rfft(sound[SAMPLE_RATE : 2 * SAMPLE_RATE]))
    assert int(spectrum.argmax()) == pytest.approx(440, abs=2)


def test_a_synthesizer_that_clips_inside_is_played_softer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Loud:
        """Saturates at 16 bits as fluidsynth does, unless its gain is low."""

        gains: ClassVar[list[float]] = []
        running = 0

        def __init__(self, gain: float, samplerate: int) -> None:
            self.gain, self.rate = gain, samplerate
            Loud.gains.append(gain)
            Loud.running += 1

        def sfload(self, path: str) -> int:
            return 0 if Path(path).exists() else -1

        def get_setting(self, _: str) -> int:
            return self.rate

        def get_samples(self, count: int) -> npt.NDArray[np.int16]:
            swing = np.sin(np.arange(count) / 20) * 300_000 * self.gain
            return np.repeat(np.clip(swing, -32_768, 32_767).astype(np.int16), 2)

        def delete(self) -> None:
            Loud.running -= 1

        def __getattr__(self, _: str) -> object:
            return lambda *_: 0

    fake = types.ModuleType("fluidsynth")
    fake.Synth = Loud  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fluidsynth", fake)
    monkeypatch.setattr(pretty_midi.fluidsynth, "_HAS_FLUIDSYNTH", True)
    monkeypatch.setattr(pretty_midi.fluidsynth, "fluidsynth", fake, raising=False)
    midi = write(tmp_path / "a.mid", [(0, 1, 60)])
    assert render_audio(midi, tmp_path / "a.wav").startswith("fluidsynth")
    sound = samples(tmp_path / "a.wav").astype(int)
    assert np.mean(np.abs(sound) > 0.999 * PEAK * 32_767) < 0.05
    assert Loud.gains == [0.2, 0.05]
    assert Loud.running == 0


def test_the_soundfont_comes_with_the_package() -> None:
    assert soundfont().read_bytes()[:4] == b"RIFF"


KEY_OF_10_SHARPS = b"\x00\xff\x59\x02\x0a\x00"
KEY_OF_MODE_255 = b"\x00\xff\x59\x02\x02\xff"


@pytest.mark.usefixtures("without_fluidsynth")
def test_what_can_be_encoded_can_be_played(tmp_path: Path) -> None:
    usual, loud = (bytes([0, 0x90, 60, velocity, 96, 60, 0]) for velocity in (127, 200))
    plain, odd = midi_bytes(usual), midi_bytes(KEY_OF_10_SHARPS + KEY_OF_MODE_255 + loud)
    rmid = riff((b"DISP", b"odd"), (b"data", plain))
    for name, raw in (("plain", plain), ("odd", odd), ("rmid", rmid)):
        (tmp_path / name).write_bytes(raw)
        render_audio(tmp_path / name, tmp_path / f"{name}.wav")
    for name in ("odd", "rmid"):
        assert (tmp_path / f"{name}.wav").read_bytes() == (tmp_path / "plain.wav").read_bytes()


@pytest.mark.usefixtures("without_fluidsynth")
def test_times_follow_every_tempo(tmp_path: Path) -> None:
    tempos = b"\x00\xff\x51\x03\x0f\x42\x40\x60\xff\x51\x03\x07\xa1\x20"  # 60, then 120
    (tmp_path / "a.mid").write_bytes(midi_bytes(tempos, b"\x60" + ONE_NOTE[1:]))
    (tmp_path / "b.mid").write_bytes(midi_bytes(tempos, b"\x81\x40" + ONE_NOTE[1:]))
    starts_s = []
    for name in ("a", "b"):
        render_audio(tmp_path / f"{name}.mid", tmp_path / f"{name}.wav")
        loud = np.abs(samples(tmp_path / f"{name}.wav").astype(int)) > 1000
        starts_s.append(int(loud.argmax()) / SAMPLE_RATE)
    assert starts_s == pytest.approx([1.0, 1.5], abs=0.01)


def test_controllers_and_bends_reach_every_track_of_their_channel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[int, list[tuple[int, int]], list[int]]] = []

    def listen(instrument: pretty_midi.Instrument) -> npt.NDArray[np.float32]:
        controls = [(one.number, one.value) for one in instrument.control_changes]
        bends = [one.pitch for one in instrument.pitch_bends]
        heard.append((instrument.program, controls, bends))
        return np.ones(10, np.float32)

    monkeypatch.setattr(audio, "has_fluidsynth", lambda: False)
    monkeypatch.setattr(audio, "_hum", listen)
    setup = program(0, 40) + b"\x00\xb0\x40\x7f\x00\xe0\x01\x41"
    (tmp_path / "a.mid").write_bytes(midi_bytes(setup, note(0), note(1)))
    render_audio(tmp_path / "a.mid", tmp_path / "a.wav")
    assert heard == [(40, [(64, 127)], [129]), (0, [], [])]


def refusal(midi: Path) -> str:
    wav = midi.with_suffix(".wav")
    with pytest.raises(MidiError) as caught:
        render_audio(midi, wav)
    assert not wav.exists()
    message = str(caught.value)
    assert "\n" not in message
    assert str(midi) in message
    return message


def test_a_missing_file(tmp_path: Path) -> None:
    assert "check the path" in refusal(tmp_path / "none.mid")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (b"", "empty"),
        (b"not midi at all", "not a MIDI file"),
        (b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\0", "not a sound MIDI file"),
    ],
)
def test_a_damaged_file(damage: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.mid").write_bytes(damage)
    assert said in refusal(tmp_path / "a.mid")


def test_a_file_without_notes(tmp_path: Path) -> None:
    assert "no notes" in refusal(write(tmp_path / "a.mid", []))


@pytest.mark.usefixtures("without_fluidsynth")
def test_drums_alone_cannot_be_hummed(tmp_path: Path) -> None:
    assert "libfluidsynth" in refusal(write(tmp_path / "a.mid", [(0, 1, 36)], drums=True))


def test_an_absurdly_long_file_is_refused_before_any_sound_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio, "_mix", lambda _: pytest.fail("it began to play"))
    midi = write(tmp_path / "a.mid", [(0, 1, 60), (3600, 3601, 60)])
    assert f"60 minutes; up to {LONGEST_MINUTES}" in refusal(midi)


def test_an_enormous_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    with (tmp_path / "a.mid").open("wb") as file:
        file.truncate(9 << 20)
    assert "bytes" in refusal(tmp_path / "a.mid")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(WriteError, match="cannot write"):
        render_audio(write(tmp_path / "a.mid", [(0, 1, 60)]), tmp_path / "taken")
