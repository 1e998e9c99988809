"""What a MIDI file says of its tempo and its channels, and why a file cannot be read."""

from pathlib import Path

import numpy as np
import pretty_midi
import pytest

from megatron_music.errors import MidiError
from megatron_music.score.instruments import DRUMS
from megatron_music.score.midi_reader import parse_file, read_midi
from tests.midi_bytes import ONE_NOTE, bank, midi_bytes, note, program
from tests.music import track


def tempo(tick: int, microseconds: int) -> bytes:
    return bytes([tick, 0xFF, 0x51, 3]) + microseconds.to_bytes(3)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty"),
        (b"MThd", "damaged"),
        (b"%PDF-1.7", "foreign"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt \x00\x00\x00\x00data", "foreign"),
        (midi_bytes(b""), "silent"),
        (midi_bytes(ONE_NOTE, division=0), "timing"),
        (midi_bytes(ONE_NOTE, division=0xE728), "timing"),
        (midi_bytes(ONE_NOTE, ONE_NOTE, format_=2), "format"),
        (midi_bytes(ONE_NOTE, format_=3), "damaged"),
        (midi_bytes(b"\x00\x3c\x40" + ONE_NOTE), "damaged"),
        (midi_bytes(b"\x00\xf4" + ONE_NOTE), "damaged"),
        (midi_bytes(b"\xff\xff\xff\xff\x7f" + ONE_NOTE), "damaged"),
        (midi_bytes(b"\xff\xff\xff\x7f\xb0\x07\x40" * 9 + ONE_NOTE), "damaged"),
        (midi_bytes(b"\x00\x90\x3c\x40\xff\xff\xff\x7f\x80\x3c\x40"), "large"),
    ],
)
def test_every_fault_has_its_reason_and_one_line(raw: bytes, reason: str) -> None:
    with pytest.raises(MidiError) as caught:
        parse_file(raw, "bad.mid")
    assert caught.value.reason == reason
    assert str(caught.value).startswith("bad.mid ")
    assert "\n" not in str(caught.value)


def test_a_fault_names_the_byte_where_its_event_begins() -> None:
    with pytest.raises(MidiError, match="byte 30 "):
        parse_file(midi_bytes(ONE_NOTE + b"\x00\xf4"), "a")


def test_without_a_tempo_a_quarter_note_is_half_a_second() -> None:
    assert parse_file(midi_bytes(ONE_NOTE), "a").seconds(np.array([0, 96, 144])).tolist() == [
        0,
        0.5,
        0.75,
    ]


def test_seconds_follow_the_tempos_of_all_tracks_and_the_last_at_a_tick_counts() -> None:
    first = tempo(96, 250_000) + tempo(0, 2_000_000)
    midi = parse_file(midi_bytes(first, tempo(48, 1_000_000) + tempo(0, 0), ONE_NOTE), "a")
    assert midi.tempos()[0].tolist() == [48, 96]
    assert midi.seconds(np.array([48, 96, 192])).tolist() == [0.25, 0.75, 2.75]


def test_a_track_knows_its_channel_programme_and_velocities() -> None:
    loud = b"\x00\x93\x3c\x7f\x10\x3c\x00"
    kit = bank(4, 127) + program(4, 8) + note(4)
    pitched, drums = parse_file(midi_bytes(program(3, 5) + loud + kit), "a").tracks
    assert (pitched.instrument, pitched.program, pitched.channel) == (5, 5, 3)
    assert pitched.velocity.tolist() == [127]
    assert (drums.instrument, drums.program, drums.channel) == (DRUMS, 8, 4)


def test_a_note_on_of_velocity_0_ends_a_note(tmp_path: Path) -> None:
    path = tmp_path / "a.mid"
    path.write_bytes(midi_bytes(b"\x00\x90\x3c\x28\x60\x90\x3c\x00\x00\x90\x3c\x70\x60\x3c\x00"))
    [one] = read_midi(path).tracks
    assert one == track(0, (0, 96, 60), (96, 192, 60))
    assert one.velocity.tolist() == [0x28, 0x70]


def test_a_bass_guitar_called_bass_is_not_a_voice(tmp_path: Path) -> None:
    midi = pretty_midi.PrettyMIDI()
    bass = pretty_midi.Instrument(33, name="Bass")
    bass.notes.append(pretty_midi.Note(90, 40, 0.0, 1.0))
    midi.instruments.append(bass)
    midi.write(str(tmp_path / "band.mid"))
    assert [t.instrument for t in read_midi(tmp_path / "band.mid").tracks] == [33]
