"""The compiled reader says what symusic says, or that it is not sure."""

import random
from pathlib import Path

import numpy as np
import pretty_midi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_music.errors import MidiError
from megatron_music.score import midi_kernel
from megatron_music.score.instruments import ALTO, BASS, DRUMS, SOPRANO
from megatron_music.score.midi import parse_midi, write_midi
from megatron_music.score.midi_kernel import MidiReader, scan
from megatron_music.score.notes import Metre, Piece, Score
from tests.music import pieces, track
from tests.score.test_midi import ONE_NOTE, chunk, midi_bytes

READER = MidiReader()

HEADER = b"MThd\x00\x00\x00\x06"
FOUR_FOUR = b"\x00\xff\x58\x04\x04\x02\x18\x08"


def read(raw: bytes) -> Score:
    """Read bytes that the compiled reader must be sure of, and as sure as symusic."""
    score = READER.read(raw)
    assert score is not None
    assert score == parse_midi(raw, "a")
    return score


def check(raw: bytes) -> bool:
    """Hold the compiled reader to symusic's where it is sure; tell whether it is."""
    score = READER.read(raw)
    if score is not None:
        assert score == parse_midi(raw, "a")
    return score is not None


def quantity(value: int) -> bytes:
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(value & 0x7F | 0x80)
    return bytes(reversed(parts))


# --- ordinary files are certain ------------------------------------------------------------------


@settings(max_examples=60)
@given(pieces(), st.sampled_from([60.0, 93.0, 120.0, 171.5]))
def test_what_pretty_midi_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, piece: Piece, tempo: float
) -> None:
    path = tmp_path_factory.mktemp("midi") / "piece.mid"
    write_midi(piece, path, tempo)
    read(path.read_bytes())


def test_a_chorale_as_music21_writes_it_is_read(tmp_path: Path) -> None:
    from music21 import corpus

    for name in ("bach/bwv66.6", "bach/bwv269"):
        corpus.parse(name).write("midi", str(tmp_path / "chorale.mid"))
        score = read((tmp_path / "chorale.mid").read_bytes())
        assert {SOPRANO, BASS} <= {t.instrument for t in score.tracks} or len(score.tracks) == 4


def test_tracks_are_chunk_channel_and_program() -> None:
    events = b"".join(
        (
            b"\x00\xc1\x05\x00\x91\x40\x40\x10\x40\x00",  # channel 2, program 5
            b"\x00\x90\x3c\x40\x10\x3c\x00",  # channel 1, program 0
            b"\x00\xc1\x03\x00\x91\x41\x40\x10\x41\x00",  # channel 2, program 3
            b"\x00\x99\x24\x40\x10\x24\x00",  # channel 10: drums
            b"\x00\xc0\x07\x00\x80\x3c\x40",  # nothing sounds in program 7
        )
    )
    assert [t.instrument for t in read(midi_bytes(events)).tracks] == [0, 3, 5, DRUMS]


def test_a_note_off_ends_the_oldest_note_of_its_pitch() -> None:
    events = b"\x00\x90\x3c\x40\x10\x3c\x50\x10\x3c\x00\x10\x3c\x00"
    [only] = read(midi_bytes(events)).tracks
    assert only == track(0, (0, 32, 60), (16, 48, 60))


def test_a_note_goes_to_the_program_that_it_began_in() -> None:
    events = b"\x00\xc0\x05\x00\x90\x3c\x40\x10\xc0\x06\x10\x80\x3c\x40"
    assert [t.instrument for t in read(midi_bytes(events)).tracks] == [5]


def test_notes_that_never_end_are_dropped() -> None:
    assert read(midi_bytes(b"\x00\x90\x3e\x40" + ONE_NOTE)).tracks == (track(0, (0, 96, 60)),)


@pytest.mark.parametrize("name", [b"Alto", b"  alto \r", b"ALTO"])
def test_a_voice_is_known_by_its_name(name: bytes) -> None:
    named = b"\x00\xff\x03" + quantity(len(name)) + name
    assert read(midi_bytes(named + b"\x00\xc0\x34" + ONE_NOTE)).tracks[0].instrument == ALTO
    assert read(midi_bytes(named + ONE_NOTE)).tracks[0].instrument == 0


def test_metres_stand_in_order_of_time_and_the_first_tempo_counts() -> None:
    later = chunk(b"MTrk", b"\x60\xff\x58\x04\x03\x02\x18\x08\x00\xff\x2f\x00")
    tempos = b"\x10\xff\x51\x03\x0f\x42\x40\x10\xff\x51\x03\x07\xa1\x20"
    sooner = chunk(b"MTrk", FOUR_FOUR + tempos + ONE_NOTE + b"\x00\xff\x2f\x00")
    score = read(HEADER + b"\x00\x01\x00\x02\x00\x60" + later + sooner)
    assert score.metres == (Metre(0, 4, 4), Metre(96, 3, 4))
    assert score.tempo_bpm == 60


def test_very_many_metres_are_read_where_their_order_is_certain() -> None:
    assert len(read(midi_bytes(FOUR_FOUR * 23 + ONE_NOTE)).metres) == 23
    assert len(read(midi_bytes((b"\x01" + FOUR_FOUR[1:]) * 255 + ONE_NOTE)).metres) == 255


@pytest.mark.parametrize("format_", [0, 1])
def test_all_formats_and_other_chunks_are_read(format_: int) -> None:
    piece = chunk(b"MTrk", ONE_NOTE + b"\x00\xff\x2f\x00")
    raw = HEADER + bytes([0, format_, 0, 2, 0, 96]) + piece + chunk(b"XFIH", b"karaoke") + piece
    assert len(read(raw).tracks) == 2
    assert len(read(raw + b"behind the last track").tracks) == 2


def test_an_rmid_file_is_read_behind_its_header() -> None:
    raw = midi_bytes(ONE_NOTE)
    read(b"RIFF\x00\x00\x00\x00RMIDdata\x00\x00\x00\x00" + raw)


# --- anything else is left to symusic ------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"MThd",
        midi_bytes(ONE_NOTE)[:-3],
        midi_bytes(b""),
        midi_bytes(ONE_NOTE, division=0),
        midi_bytes(ONE_NOTE, division=0xE728),
        midi_bytes(b"\x00\x3c\x40" + ONE_NOTE),
        midi_bytes(b"\x00\xf8" + ONE_NOTE),
        midi_bytes(b"\x00\xf0\x01\xf7\x00\x3c\x40" + ONE_NOTE),
        midi_bytes(b"\x00\x90\x3c\x40\x10\xbc\x00" + ONE_NOTE),
        midi_bytes(b"\x00\xc0\x85" + ONE_NOTE),
        midi_bytes(b"\x00\xff\x58\x02\x04\x02" + ONE_NOTE),
        midi_bytes(b"\x00\xff\x58\x04\x04\x22\x18\x08" + ONE_NOTE),
        midi_bytes(b"\x00\xff\x51\x02\x07\xa1" + ONE_NOTE),
        midi_bytes(b"\x00\xff\x03\x02Tu\xff\xff\xff" + ONE_NOTE),
        midi_bytes(b"\x00\xff\x03\x05Alto\xa0\x00\xc0\x34" + ONE_NOTE),
        midi_bytes(FOUR_FOUR * 24 + ONE_NOTE),
        midi_bytes((b"\x01" + FOUR_FOUR[1:]) * 256 + ONE_NOTE),
        midi_bytes(b"\x00\x90\x3c\x40\xff\xff\xff\x7f\x80\x3c\x40"),
        midi_bytes(b"\xff\xff\xff\xff\x7f" + ONE_NOTE),
    ],
)
def test_what_is_irregular_is_left_alone(raw: bytes) -> None:
    assert READER.read(raw) is None


def test_more_tracks_than_an_orchestra_are_left_alone() -> None:
    programs = b"".join(
        bytes([0, 0xC0 | channel, program, 0, 0x90 | channel, 60, 64, 1, 60, 0])
        for program in range(20)
        for channel in range(16)
    )
    assert READER.read(midi_bytes(programs[: 10 * 256])) is not None
    assert READER.read(midi_bytes(programs[: 10 * 257])) is None


def test_buffers_that_are_too_small_are_refused_not_overrun() -> None:
    raw = np.frombuffer(bytearray(midi_bytes(ONE_NOTE * 3)), np.uint8)
    tracks, metres = np.zeros((2, 256), np.int32), np.zeros((3, 255), np.int32)
    work = np.zeros(midi_kernel.WORK_CELLS, np.int32)

    def count(notes: int, work: np.ndarray = work, end: int = len(raw)) -> int:
        rows = np.zeros((midi_kernel.NOTE_ROWS, notes), np.int32)
        return scan(raw, 0, end, 40_000, rows, tracks, metres, work)[0]

    assert count(3) == 3
    assert count(2) == count(3, work[:-1]) == count(3, end=len(raw) + 1) == -1


# --- made and mutated files ----------------------------------------------------------------------

delta = st.one_of(st.just(0), st.integers(0, 300), st.sampled_from([127, 128, 16383, 16384]))
channel = st.sampled_from([0, 1, 9, 15])
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
        b"\xff\x03\x05\x80bass",
        b"\xff\x05\x02la",
        b"\xff\x06\x02\xc3\xa9",
        b"\xff\x51\x03\x07\xa1\x20",
        b"\xff\x51\x03\x00\x00\x00",
        b"\xff\x58\x04\x03\x02\x18\x08",
        b"\xff\x58\x04\x04\x09\x18\x08",
        b"\xff\x58\x04\x04\x07\x18\x08",
        b"\xff\x2f\x00",
        b"\xff\x7f\x81\x00" + bytes(128),
    ]
)
event = st.one_of(note_on, note_on, note_off, note_off, program, other, meta)


@st.composite
def midi_files(draw: st.DrawFn) -> bytes:
    """Draw a file of one to three chunks, with running status where it can be."""
    bodies = []
    for _ in range(draw(st.integers(1, 3))):
        body, status = b"", 0
        for wait, spelt in draw(st.lists(st.tuples(delta, event), max_size=40)):
            runs = spelt[0] == status and draw(st.booleans())
            body += quantity(wait) + spelt[runs:]
            if spelt[0] != 0xFF:
                status = spelt[0] if spelt[0] < 0xF0 else 0
        bodies.append(chunk(b"MTrk", body))
    resolution = draw(st.sampled_from([1, 96, 480])).to_bytes(2, "big")
    return HEADER + bytes([0, 1, 0, len(bodies)]) + resolution + b"".join(bodies)


@settings(max_examples=400)
@given(midi_files())
def test_made_files_are_read_as_symusic_reads_them(raw: bytes) -> None:
    if not check(raw):
        return
    assert READER.read(raw) == READER.read(raw)


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


def test_damaged_files_are_read_as_symusic_reads_them_or_left_alone(tmp_path: Path) -> None:
    raw = orchestra(tmp_path / "a.mid")
    rng = random.Random(11)  # noqa: S311
    sure = sum(check(mutant(raw, rng)) for _ in range(3_000))
    assert sure > 300


def test_a_file_that_symusic_refuses_is_never_sure() -> None:
    raw = midi_bytes(ONE_NOTE)
    for end in range(len(raw)):
        with pytest.raises(MidiError):
            parse_midi(raw[:end], "cut")
        assert READER.read(raw[:end]) is None
