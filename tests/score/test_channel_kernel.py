"""A channel plays what was set last, whichever track chunk set it; drums as GM2, XG and GS say."""

import pytest

from megatron_music.score.instruments import DRUMS
from megatron_music.score.midi import parse_midi
from tests.midi_bytes import GS_RESET, XG_ON, bank, gs_rhythm, midi_bytes, note, program

VIOLIN, FLUTE, BASS = 40, 73, 32


def instruments(raw: bytes) -> list[int]:
    return [track.instrument for track in parse_midi(raw, "a.mid").tracks]


def port(number: int) -> bytes:
    return bytes([0, 0xFF, 0x21, 1, number])


def test_programmes_of_a_set_up_track_hold_for_the_others() -> None:
    setup = program(0, VIOLIN) + program(1, FLUTE) + program(2, BASS)
    parts = [note(channel) for channel in range(3)]
    assert instruments(midi_bytes(setup, *parts)) == [VIOLIN, FLUTE, BASS]
    assert instruments(midi_bytes(*parts, setup)) == [VIOLIN, FLUTE, BASS]


def test_a_programme_holds_from_the_tick_where_it_is_set() -> None:
    setup = program(0, VIOLIN) + program(0, FLUTE, 100)
    early, late = parse_midi(midi_bytes(setup, note(0) + note(0, 84) + note(0, 9)), "a").tracks
    assert (early.instrument, early.onset.tolist()) == (VIOLIN, [0])
    assert (late.instrument, late.onset.tolist()) == (FLUTE, [100, 125])


def test_of_programmes_at_one_tick_a_tracks_own_counts() -> None:
    first, second = program(0, VIOLIN) + note(0), program(0, FLUTE) + note(0)
    assert instruments(midi_bytes(first, second)) == [VIOLIN, FLUTE]


def test_a_later_programme_of_another_track_replaces_the_own() -> None:
    own = program(0, VIOLIN) + note(0) + note(0, 84)
    assert instruments(midi_bytes(own, program(0, FLUTE, 100))) == [VIOLIN, FLUTE]


def test_ports_have_channels_of_their_own() -> None:
    setup = program(0, VIOLIN)
    assert instruments(midi_bytes(setup, port(1) + note(0))) == [0]
    assert instruments(midi_bytes(port(1) + setup, port(1) + note(0))) == [VIOLIN]


def test_a_track_that_comes_back_to_a_port_finds_it_as_it_left_it() -> None:
    events = program(0, VIOLIN) + port(1) + program(0, FLUTE) + note(0) + port(0) + note(0)
    assert instruments(midi_bytes(events)) == [VIOLIN, FLUTE]


def test_what_a_track_sets_on_several_ports_does_not_depend_on_another_track() -> None:
    events = port(1) + note(0) + program(0, FLUTE) + port(2) + note(0) + port(1) + note(0)
    assert instruments(midi_bytes(events)) == [0, FLUTE, 0]
    shared = (program(5, VIOLIN), note(5))
    assert instruments(midi_bytes(events, *shared)) == [0, FLUTE, 0, VIOLIN]


def test_notes_go_to_the_programme_that_they_began_in() -> None:
    events = b"\x00\xc0\x05\x00\x90\x3c\x40\x10\xc0\x06\x10\x80\x3c\x40"
    assert instruments(midi_bytes(events)) == [5]


@pytest.mark.parametrize("number", [120, 126, 127])
def test_banks_for_drums_make_drums_of_any_channel(number: int) -> None:
    events = bank(4, number) + program(4, 8) + note(4)
    assert instruments(midi_bytes(events)) == [DRUMS]
    assert instruments(midi_bytes(bank(4, number), program(4, 8), note(4))) == [DRUMS]


def test_a_bank_counts_from_the_next_programme_on() -> None:
    before = program(4, 8) + bank(4, 127) + note(4)
    back = bank(4, 127) + program(4, 0) + bank(4, 0) + note(4) + program(4, 8) + note(4)
    assert instruments(midi_bytes(before)) == [8]
    assert instruments(midi_bytes(back)) == [8, DRUMS]


def test_a_gs_devices_bank_127_is_not_a_drum_kit() -> None:
    events = bank(4, 127) + program(4, 8) + note(4)
    assert instruments(midi_bytes(GS_RESET + events)) == [8]
    assert instruments(midi_bytes(events, GS_RESET)) == [8]
    assert instruments(midi_bytes(GS_RESET + XG_ON + events)) == [DRUMS]


@pytest.mark.parametrize("part", [1, 9, 11, 16])
def test_gs_uses_parts_for_rhythm_and_back(part: int) -> None:
    channel = part - 1
    events = gs_rhythm(part, 1) + note(channel) + gs_rhythm(part, 0) + note(channel)
    assert instruments(midi_bytes(events)) == [0, DRUMS]
    assert instruments(midi_bytes(gs_rhythm(part, 2), note(channel))) == [DRUMS]


def test_channel_10_is_drums_unless_gs_makes_it_melodic() -> None:
    assert instruments(midi_bytes(program(9, 8) + note(9))) == [DRUMS]
    assert instruments(midi_bytes(gs_rhythm(10, 0) + program(9, 8) + note(9))) == [8]


def test_xg_sets_the_mode_of_a_part() -> None:
    mode = bytes([0, 0xF0, 8, 0x43, 0x10, 0x4C, 0x08, 3, 0x07, 2, 0xF7])
    assert instruments(midi_bytes(mode + note(3))) == [DRUMS]


def test_tracks_are_chunk_channel_and_programme() -> None:
    events = program(1, 5) + note(1) + note(0) + program(1, 3) + note(1) + note(9) + program(0, 7)
    assert instruments(midi_bytes(events)) == [0, 3, 5, DRUMS]
