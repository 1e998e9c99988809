"""MIDI files are read as players read them; sound ones as symusic, another reader, does."""

import random
from contextlib import suppress
from pathlib import Path

import numpy as np
import pretty_midi
import pytest
import symusic
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_music.errors import MidiError
from megatron_music.score.instruments import ALTO, BASS, DRUMS, SOPRANO
from megatron_music.score.midi_kernel import new_buffers, scan
from megatron_music.score.midi_reader import parse_midi
from megatron_music.score.notes import Metre, Score, Track
from tests.midi_bytes import END_OF_TRACK, FOUR_FOUR, HEADER, ONE_NOTE, chunk, midi_bytes, riff
from tests.music import track


def read(raw: bytes) -> Score:
    return parse_midi(raw, "a.mid")


def as_symusic(raw: bytes) -> list[tuple[int, Track]]:
    """Return the tracks that symusic finds, with 128 more than the program for drums."""
    found = symusic.Score.from_midi(raw, sanitize_data=True)
    return [
        (
            one.program + DRUMS * one.is_drum,
            Track(0, columns["time"], columns["time"] + columns["duration"], columns["pitch"]),
        )
        for one in found.tracks
        for columns in [one.notes.numpy()]
        if len(one.notes)
    ]


def hold_to_symusic(raw: bytes) -> None:
    """Hold our reader to symusic's: the same tracks, notes and time signatures."""
    score, found = read(raw), as_symusic(raw)
    assert len(score.tracks) == len(found)
    for ours, (program, theirs) in zip(score.tracks, found, strict=True):
        assert min(ours.instrument, DRUMS) == min(program, DRUMS) or program == 52
        assert Track(0, ours.onset, ours.end, ours.pitch) == theirs
    signs = symusic.Score.from_midi(raw).time_signatures
    assert score.metres == tuple(Metre(s.time, s.numerator, s.denominator) for s in signs)


def quantity(value: int) -> bytes:
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(value & 0x7F | 0x80)
    return bytes(reversed(parts))


# --- sound files ---------------------------------------------------------------------------------


def test_a_chorale_as_music21_writes_it_is_read(tmp_path: Path) -> None:
    from music21 import corpus

    for name in ("bach/bwv66.6", "bach/bwv269"):
        corpus.parse(name).write("midi", str(tmp_path / "chorale.mid"))
        raw = (tmp_path / "chorale.mid").read_bytes()
        hold_to_symusic(raw)
        tracks = read(raw).tracks
        assert {SOPRANO, BASS} <= {t.instrument for t in tracks} or len(tracks) == 4


@pytest.mark.parametrize(
    ("raw", "notes"),
    [
        # A NOTE_OFF ends the oldest note of its pitch; notes that never end are dropped.
        (midi_bytes(b"\x00\x90\x3c\x40\x10\x3c\x50\x10\x3c\x00\x10\x3c\x00"),
         track(0, (0, 32, 60), (16, 48, 60))),
        (midi_bytes(b"\x00\x90\x3e\x40" + ONE_NOTE), track(0, (0, 96, 60))),
        # Bytes of data above 127 count as 127.
        (midi_bytes(b"\x00\xc0\x85\x00\x90\xc8\xc8\x10\x80\xc8\xc8"), track(127, (0, 16, 127))),
        # Format 2 is read if one pattern alone has notes.
        (midi_bytes(FOUR_FOUR, ONE_NOTE, format_=2), track(0, (0, 96, 60))),
    ],
)  # fmt: skip
def test_the_notes_of_a_file(raw: bytes, notes: Track) -> None:
    assert read(raw).tracks == (notes,)


@pytest.mark.parametrize("name", [b"Alto", b"  alto \r", b"ALTO"])
def test_a_voice_is_known_by_its_name(name: bytes) -> None:
    named = b"\x00\xff\x03" + quantity(len(name)) + name
    assert read(midi_bytes(named + b"\x00\xc0\x34" + ONE_NOTE)).tracks[0].instrument == ALTO
    assert read(midi_bytes(named + ONE_NOTE)).tracks[0].instrument == 0


def test_metres_stand_in_order_of_time_and_the_first_tempo_counts() -> None:
    later = b"\x60\xff\x58\x04\x03\x02\x18\x08"
    tempos = b"\x10\xff\x51\x03\x0f\x42\x40\x10\xff\x51\x03\x07\xa1\x20"
    score = read(midi_bytes(later, FOUR_FOUR + tempos + ONE_NOTE))
    assert score.metres == (Metre(0, 4, 4), Metre(96, 3, 4))
    assert score.tempo_bpm == 60


def test_any_number_of_metres_and_tracks_is_read() -> None:
    assert len(read(midi_bytes(FOUR_FOUR * 1000 + ONE_NOTE)).metres) == 1000
    assert len(read(midi_bytes(*[ONE_NOTE] * 1000)).tracks) == 1000


@pytest.mark.parametrize("format_", [0, 1])
def test_all_formats_and_other_chunks_are_read(format_: int) -> None:
    piece = chunk(b"MTrk", ONE_NOTE + END_OF_TRACK)
    raw = HEADER + bytes([0, format_, 0, 2, 0, 96]) + piece + chunk(b"XFIH", b"karaoke") + piece
    assert len(read(raw).tracks) == 2
    assert len(read(raw + b"behind the last track").tracks) == 2


# --- odd files -----------------------------------------------------------------------------------

FOUR_NOTES = b"\x00\x90\x3c\x40\x10\x3c\x00\x00\x3e\x40\x10\x3e\x00"


@pytest.mark.parametrize(
    "between",
    [
        b"\x00\xf0\x05\x7e\x7f\x06\x01\xf7",
        b"\x00\xf7\x02\xf3\x01",
        b"\x00\xff\x01\x02la",
        b"\x00\xff\x51\x03\x07\xa1\x20",
        b"\x00\xf8",
        b"\x00\xf2\x10\x10",
    ],
)
def test_running_status_continues_after_system_messages(between: bytes) -> None:
    half = len(FOUR_NOTES) // 2 + 1
    raw = midi_bytes(FOUR_NOTES[:half] + between + FOUR_NOTES[half:])
    assert read(raw).tracks == read(midi_bytes(FOUR_NOTES)).tracks


def test_tracks_beyond_the_headers_count_are_read_but_no_second_file() -> None:
    raw = bytearray(midi_bytes(ONE_NOTE, ONE_NOTE, ONE_NOTE))
    raw[10:12] = b"\x00\x01"
    assert len(read(bytes(raw)).tracks) == 3
    assert len(read(bytes(raw) + midi_bytes(ONE_NOTE)).tracks) == 3


def test_a_chunk_longer_than_the_file_is_read_to_its_end_of_track() -> None:
    raw = bytearray(midi_bytes(ONE_NOTE, FOUR_NOTES))
    place = raw.rindex(b"MTrk")
    raw[place + 4 : place + 8] = b"\x7f\xff\xff\xff"
    assert read(bytes(raw)).tracks == read(midi_bytes(ONE_NOTE, FOUR_NOTES)).tracks
    with pytest.raises(MidiError, match="cut short"):
        read(bytes(raw[:-1]))


def test_a_file_that_is_cut_short_is_refused_wherever_it_is_cut() -> None:
    raw = midi_bytes(ONE_NOTE)
    for end in range(len(raw)):
        with pytest.raises(MidiError):
            read(raw[:end])


def test_riff_chunks_come_in_any_order_and_are_padded() -> None:
    raw = midi_bytes(ONE_NOTE)
    odd = (b"DISP", b"odd")
    for wrapped in (riff((b"data", raw)), riff(odd, (b"data", raw)), riff((b"data", raw), odd)):
        assert read(wrapped).tracks == read(raw).tracks
    assert read(b"RIFF\x00\x00\x00\x00RMIDdata\x00\x00\x00\x00" + raw).tracks


def test_time_signatures_and_tempos_of_odd_length_are_read_or_passed_over() -> None:
    short = b"\x00\xff\x58\x01\x03" + b"\x00\xff\x51\x02\x07\xa1"
    score = read(midi_bytes(short + b"\x00\xff\x58\x02\x06\x03" + ONE_NOTE))
    assert (score.metres, score.tempo_bpm) == ((Metre(0, 6, 8),), 120)


def test_buffers_that_are_too_small_are_refused_not_overrun() -> None:
    raw = np.frombuffer(bytearray(midi_bytes(b"\x00\xc0\x05" + FOUR_FOUR + ONE_NOTE * 3)), np.uint8)

    def count(end: int = len(raw), notes: int = 3, **room: int) -> int:
        return scan(raw, 0, end, 40_000, new_buffers(notes, **room))[0]

    assert count(tracks=1, metres=1, changes=1) == 3
    assert count(notes=2) == count(tracks=0) == count(metres=0) == count(changes=0) == -1
    assert count(end=len(raw) + 1) == -1
    short = new_buffers(3)._replace(work=np.zeros(10, np.int32))
    assert scan(raw, 0, len(raw), 40_000, short)[0] == -1


# --- made and mutated files ----------------------------------------------------------------------

delta = st.one_of(st.just(0), st.integers(0, 300), st.sampled_from([127, 128, 16383, 16384]))
channel = st.sampled_from([0, 1, 9])
pitch = st.integers(58, 63)
note_on = st.tuples(channel, pitch, st.integers(0, 127)).map(lambda t: bytes([0x90 | t[0], *t[1:]]))
note_off = st.tuples(channel, pitch).map(lambda t: bytes([0x80 | t[0], t[1], 64]))
program = st.tuples(channel, st.sampled_from([0, 5, 52])).map(lambda t: bytes([0xC0 | t[0], t[1]]))
other = st.sampled_from(
    [b"\xb0\x07\x64", b"\xe0\x00\x40", b"\xd0\x40", b"\xf0\x03\x01\x02\xf7", b"\xa0\x3c\x01"]
)
meta = st.sampled_from(
    [
        b"\xff\x03\x04bass",
        b"\xff\x05\x02la",
        b"\xff\x06\x02\xc3\xa9",
        b"\xff\x51\x03\x07\xa1\x20",
        b"\xff\x58\x04\x03\x02\x18\x08",
        b"\xff\x2f\x00",
        b"\xff\x7f\x81\x00" + bytes(128),
    ]
)
event = st.one_of(note_on, note_on, note_off, note_off, program, other, meta)


@st.composite
def midi_files(draw: st.DrawFn) -> bytes:
    """Draw a file of one to three chunks on channels of their own, with running status."""
    bodies = []
    for number in range(draw(st.integers(1, 3))):
        body, status = b"", 0
        for wait, spelt in draw(st.lists(st.tuples(delta, event), max_size=40)):
            moves = spelt[0] < 0xF0 and spelt[0] & 15 != 9
            first = spelt[0] + 2 * number * moves
            runs = first == status and draw(st.booleans())
            body += quantity(wait) + (b"" if runs else bytes([first])) + spelt[1:]
            if first != 0xFF:
                status = first if first < 0xF0 else 0
        bodies.append(body)
    return midi_bytes(*bodies, format_=1, division=draw(st.sampled_from([96, 480])))


@settings(max_examples=400, deadline=None)
@given(midi_files())
def test_made_files_are_read_as_symusic_reads_them(raw: bytes) -> None:
    if as_symusic(raw):
        hold_to_symusic(raw)
    else:
        with pytest.raises(MidiError, match="no notes"):
            read(raw)


def orchestra(path: Path) -> bytes:
    midi = pretty_midi.PrettyMIDI()
    rng = random.Random(3)  # noqa: S311 (music, not secrets)
    for code in (0, 33, 52, 52, -1):
        instrument = pretty_midi.Instrument(max(code, 0), code < 0, name="Alto")
        for i in range(30):
            start = i / 4 + rng.random() / 8
            instrument.notes.append(pretty_midi.Note(90, rng.randint(50, 60), start, start + 0.7))
        midi.instruments.append(instrument)
    midi.write(str(path))
    return path.read_bytes()


def mutant(raw: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(raw)
    for _ in range(rng.choice([1, 1, 2, 8])):
        damaged = damaged or bytearray(1)
        place = rng.randrange(len(damaged))
        kind = rng.randrange(4)
        if kind == 0:
            damaged[place] = rng.randrange(256)
        elif kind == 1:
            damaged[place] ^= 1 << rng.randrange(8)
        elif kind == 2:
            damaged[place:place] = bytes(rng.randrange(256) for _ in range(rng.randrange(4)))
        else:
            del damaged[place : place + rng.choice([1, 2, 30])]
    return bytes(damaged[: rng.choice([len(damaged)] * 9 + [rng.randrange(len(damaged) + 1)])])


def test_damaged_files_are_read_or_refused_and_always_alike(tmp_path: Path) -> None:
    raw = orchestra(tmp_path / "a.mid")
    rng = random.Random(11)  # noqa: S311
    sound = 0
    for _ in range(2_000):
        damaged = mutant(raw, rng)
        with suppress(MidiError):
            assert read(damaged) == read(damaged)
            sound += 1
    assert 300 < sound < 1_900
