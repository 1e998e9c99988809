"""A MIDI file's events come back as they were, and belong to the notes that the reader finds."""

from pathlib import Path

import pytest

from megatron_music.score.midi_events import NAME, Chunk, Event, meta, parse_events
from megatron_music.score.midi_reader import parse_file
from megatron_music.score.midi_source import MidiSource
from tests.midi_bytes import (
    FOUR_FOUR,
    GS_RESET,
    ONE_NOTE,
    chunk,
    midi_bytes,
    note,
    program,
    riff,
)

NAMED = b"\x00\xff\x03\x02Hi"
RUNNING = b"\x00\x90\x3c\x40\x60\x3c\x00"


def source(raw: bytes) -> MidiSource:
    return MidiSource(Path("a.mid"), raw, parse_file(raw, "a.mid"), parse_events(raw))


@pytest.mark.parametrize(
    "raw",
    [
        midi_bytes(NAMED + ONE_NOTE),
        midi_bytes(FOUR_FOUR + GS_RESET, ONE_NOTE, NAMED + ONE_NOTE, division=330),
        midi_bytes(ONE_NOTE) + chunk(b"XFIH", b"karaoke"),
    ],
)
def test_a_file_of_plain_events_comes_back_to_the_byte(raw: bytes) -> None:
    assert parse_events(raw).to_bytes() == raw


def test_running_status_is_written_out_and_means_the_same() -> None:
    raw = midi_bytes(RUNNING)
    written = parse_events(raw).to_bytes()
    assert b"\x60\x90\x3c\x00" in written
    assert parse_events(written).tracks == parse_events(raw).tracks


@pytest.mark.parametrize(
    "raw",
    [
        riff((b"data", midi_bytes(ONE_NOTE))),
        midi_bytes(ONE_NOTE)[:-4] + b"\x00\xff\x2f\x00",
        midi_bytes(ONE_NOTE) + b"trailing bytes",
        midi_bytes(b"\x00\xfe" + ONE_NOTE),
        midi_bytes(b"\x00\xf0\x02\x01\xf7" + RUNNING),
    ],
)
def test_what_the_reader_forgives_is_forgiven(raw: bytes) -> None:
    again = parse_events(raw).to_bytes()
    before, after = parse_file(raw, "a").tracks, parse_file(again, "a").tracks
    assert [one.pitch.tolist() for one in before] == [one.pitch.tolist() for one in after]


def test_events_are_written_by_their_ticks_and_in_order_at_one() -> None:
    file = parse_events(midi_bytes(ONE_NOTE))
    names = [Event(tick, meta(NAME, text)) for tick, text in ((9, b"c"), (0, b"a"), (0, b"b"))]
    file.tracks[0].events = names
    (again,) = parse_events(file.to_bytes()).tracks
    assert [(event.tick, event.text) for event in again.events] == [(0, b"a"), (0, b"b"), (9, b"c")]


def test_text_is_read_in_any_encoding() -> None:
    for text in ("Gr\u00fc\u00dfe".encode(), "Gr\u00fc\u00dfe".encode("latin-1")):
        assert Chunk([Event(0, meta(NAME, text + b"\x00"))]).name == "Gr\u00fc\u00dfe"


def test_notes_know_their_events_even_where_a_channel_changes_its_sound() -> None:
    events = program(0, 5) + note(0) + program(0, 9, 10) + note(0, 0, 64) + note(0, 0, 60)
    made = source(midi_bytes(NAMED + events, note(4, 7) + ONE_NOTE))
    found = [
        (one.chunk, one.channel, one.program, [(n.onset, n.pitch) for n in one.notes])
        for one in made.tracks
    ]
    assert found == [
        (0, 0, 5, [(0, 60)]),
        (0, 0, 9, [(26, 64), (42, 60)]),
        (1, 0, 5, [(23, 60)]),
        (1, 4, 0, [(7, 60)]),
    ]
    for track in made.tracks:
        for one in track.notes:
            events_of = made.events.tracks[track.chunk].events
            assert events_of[one.begins].tick == one.onset
            assert events_of[one.ends].tick == one.end
    assert made.programs(0) == [(0, 0), (0, 5), (26, 9)]
    assert made.channels == {0, 4}
