"""MIDI files as sound: audible, unclipped, of the right length, or refused in one line."""

import sys
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pretty_midi
import pytest

from megatron_music.errors import MidiError, MissingError, WriteError
from megatron_music.score.audio import (
    LONGEST_MINUTES,
    PEAK,
    PLAYER,
    SAMPLE_RATE_HZ,
    render_audio,
)
from tests.midi_bytes import ONE_NOTE, midi_bytes, note, program, riff

CHOIR, ORGAN, FLUTE = 52, 19, 73
FULL_SCALE = 32_767


def write(
    path: Path, notes: list[tuple[float, float, int]], sound: int = CHOIR, drums: bool = False
) -> Path:
    midi = pretty_midi.PrettyMIDI()
    part = pretty_midi.Instrument(sound, is_drum=drums)
    part.notes = [pretty_midi.Note(127, pitch, start, end) for start, end, pitch in notes]
    midi.instruments.append(part)
    midi.write(str(path))
    return path


def samples(path: Path) -> npt.NDArray[np.float64]:
    """Return a WAV file's samples, a row for each moment, a column for left and right."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (2, 2)
        assert file.getframerate() == SAMPLE_RATE_HZ
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2) / FULL_SCALE


def played(midi: Path) -> npt.NDArray[np.float64]:
    """Play a file and return its samples."""
    wav = midi.with_suffix(".wav")
    assert render_audio(midi, wav) == PLAYER
    return samples(wav)


def loudness(sound: npt.NDArray[np.float64], begin_s: float, end_s: float) -> float:
    part = sound[round(begin_s * SAMPLE_RATE_HZ) : round(end_s * SAMPLE_RATE_HZ)]
    return float(np.sqrt(np.mean(part**2)))


def test_drums_sound_each_time_they_are_struck(tmp_path: Path) -> None:
    strokes = [(i / 2, i / 2 + 0.1, pitch) for i, pitch in enumerate((36, 38, 42, 49))]
    sound = played(write(tmp_path / "a.mid", strokes, drums=True))
    assert all(loudness(sound, start, start + 0.1) > 0.01 for start, _, _ in strokes)


def test_a_band_of_more_tracks_than_channels_sounds_in_full(tmp_path: Path) -> None:
    chunks = [program(i % 9, 24 + i // 9) + b"\x00" + note(i % 9)[1:] for i in range(27)]
    (tmp_path / "a.mid").write_bytes(midi_bytes(*chunks))
    assert np.abs(played(tmp_path / "a.mid")).max() == pytest.approx(PEAK, abs=1e-4)


def test_tracks_stand_left_and_right(tmp_path: Path) -> None:
    left, right = b"\x00\xb0\x0a\x00", b"\x00\xb1\x0a\x7f"
    first = left + b"\x00\x90\x3c\x7f\x60\x80\x3c\x00"
    second = right + b"\x81\x40\x91\x3c\x7f\x60\x81\x3c\x00"
    (tmp_path / "a.mid").write_bytes(midi_bytes(first, second))
    energy = played(tmp_path / "a.mid") ** 2
    begins, ends = energy[: SAMPLE_RATE_HZ // 2].sum(0), energy[SAMPLE_RATE_HZ:].sum(0)
    assert begins[0] > 3 * begins[1]
    assert ends[1] > 3 * ends[0]


def test_a_long_note_sounds_to_its_end_and_no_longer(tmp_path: Path) -> None:
    notes = [(0.0, 4.0, 48), (0.0, 0.1, 60), (7.0, 7.1, 60)]
    sound = played(write(tmp_path / "a.mid", notes, ORGAN))
    assert loudness(sound, 3.5, 4.0) > 0.5 * loudness(sound, 0.5, 1.0)
    assert loudness(sound, 6.0, 6.9) < 0.01 * loudness(sound, 3.5, 4.0)
    assert len(sound) < 9.2 * SAMPLE_RATE_HZ


def test_a_pitch_struck_again_sounds_on_to_its_second_end(tmp_path: Path) -> None:
    first_ends_after_the_second = [(0.0, 1.0, 60), (0.5, 3.0, 60)]
    sound = played(write(tmp_path / "a.mid", first_ends_after_the_second, ORGAN))
    assert loudness(sound, 2.5, 3.0) > 0.05


def test_held_choir_chords_do_not_clip(tmp_path: Path) -> None:
    chord = [(0.0, 4.0, pitch) for pitch in range(36, 96, 2)]
    sound = np.abs(played(write(tmp_path / "a.mid", chord)))
    assert sound.max() == pytest.approx(PEAK, abs=1e-4)
    assert np.mean(sound >= sound.max() - 1 / FULL_SCALE) < 1e-4


def test_a_passage_played_softer_against_clipping_keeps_its_balance(tmp_path: Path) -> None:
    def crescendo(voices: int) -> float:
        """Return how much louder this many voices are than the lowest of them after them."""
        together = [(0.0, 2.0, 30 + i) for i in range(voices)]
        sound = played(write(tmp_path / "a.mid", [*together, (4.0, 6.0, 30)], ORGAN))
        return loudness(sound, 0.5, 1.5) / loudness(sound, 4.5, 5.5)

    assert crescendo(1) == pytest.approx(1, rel=0.1)
    assert crescendo(48) > 4


def test_a_note_has_its_pitch_and_its_place(tmp_path: Path) -> None:
    sound = played(write(tmp_path / "a.mid", [(1.0, 2.0, 69)], FLUTE)).sum(1)
    assert np.abs(sound[: int(0.98 * SAMPLE_RATE_HZ)]).max() < 0.01
    spectrum = np.abs(np.fft.rfft(sound[SAMPLE_RATE_HZ : 2 * SAMPLE_RATE_HZ]))
    assert int(spectrum.argmax()) == pytest.approx(440, abs=4)


KEY_OF_10_SHARPS = b"\x00\xff\x59\x02\x0a\x00"
KEY_OF_MODE_255 = b"\x00\xff\x59\x02\x02\xff"


def test_what_can_be_encoded_can_be_played(tmp_path: Path) -> None:
    usual, loud = (bytes([0, 0x90, 60, velocity, 96, 60, 0]) for velocity in (127, 200))
    plain, odd = midi_bytes(usual), midi_bytes(KEY_OF_10_SHARPS + KEY_OF_MODE_255 + loud)
    rmid = riff((b"DISP", b"odd"), (b"data", plain))
    for name, raw in (("plain", plain), ("odd", odd), ("rmid", rmid)):
        (tmp_path / name).write_bytes(raw)
        render_audio(tmp_path / name, tmp_path / f"{name}.wav")
    for name in ("odd", "rmid"):
        assert (tmp_path / f"{name}.wav").read_bytes() == (tmp_path / "plain.wav").read_bytes()


def test_times_follow_every_tempo(tmp_path: Path) -> None:
    tempos = b"\x00\xff\x51\x03\x0f\x42\x40\x60\xff\x51\x03\x07\xa1\x20"  # 60, then 120
    (tmp_path / "a.mid").write_bytes(midi_bytes(tempos, b"\x60" + ONE_NOTE[1:]))
    (tmp_path / "b.mid").write_bytes(midi_bytes(tempos, b"\x81\x40" + ONE_NOTE[1:]))
    starts_s = []
    for name in ("a", "b"):
        render_audio(tmp_path / f"{name}.mid", tmp_path / f"{name}.wav")
        loud = np.abs(samples(tmp_path / f"{name}.wav")).max(1) > 0.03
        starts_s.append(int(loud.argmax()) / SAMPLE_RATE_HZ)
    assert starts_s == pytest.approx([1.0, 1.5], abs=0.02)


def test_controllers_and_bends_reach_every_track_of_their_channel(tmp_path: Path) -> None:
    silenced, bent = b"\x81\x40\xb0\x07\x00", b"\x00\xe0\x7f\x7f"
    held = b"\x00\x90\x45\x7f\x84\x00\x80\x45\x00"
    other = program(1, FLUTE) + b"\x00\x91\x45\x01\x84\x00\x81\x45\x00"
    (tmp_path / "a.mid").write_bytes(midi_bytes(bent + silenced, program(0, FLUTE) + held, other))
    sound = played(tmp_path / "a.mid")
    spectrum = np.abs(np.fft.rfft(sound[: SAMPLE_RATE_HZ // 2].sum(1)))
    assert 2 * int(spectrum.argmax()) == pytest.approx(440 * 2 ** (2 / 12), abs=4)
    assert loudness(sound, 1.5, 2.0) < 0.2 * loudness(sound, 0.1, 0.5)


def refusal(midi: Path) -> str:
    wav = midi.with_suffix(".wav")
    with pytest.raises(MidiError) as caught:
        render_audio(midi, wav)
    assert not wav.exists()
    message = str(caught.value)
    assert "\n" not in message
    assert str(midi) in message
    return message


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (None, "check the path"),
        (b"", "empty"),
        (b"not midi at all", "not a MIDI file"),
        (b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\0", "not a sound MIDI file"),
        (midi_bytes(b""), "no notes"),
        (bytes(9 << 20), "bytes"),  # refused before it is parsed
    ],
    ids=["missing", "empty", "text", "cut", "silent", "enormous"],
)
def test_what_cannot_be_played_is_one_line(raw: bytes | None, said: str, tmp_path: Path) -> None:
    if raw is not None:
        (tmp_path / "a.mid").write_bytes(raw)
    assert said in refusal(tmp_path / "a.mid")


def test_without_the_synthesizer_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "midirenderer", None)
    with pytest.raises(MissingError, match="pip install midirenderer"):
        render_audio(write(tmp_path / "a.mid", [(0, 1, 60)]), tmp_path / "a.wav")


def test_an_absurdly_long_file_is_refused_before_any_sound_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "midirenderer", None)  # playing would fail
    midi = write(tmp_path / "a.mid", [(0, 1, 60), (3600, 3601, 60)])
    assert f"60 minutes; up to {LONGEST_MINUTES}" in refusal(midi)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(WriteError, match="cannot write"):
        render_audio(write(tmp_path / "a.mid", [(0, 1, 60)]), tmp_path / "taken")
