"""A channel plays what was set last, whichever track chunk set it; drums as GM2, XG and GS say."""

import pytest

from megatron_music.score.instruments import DRUMS
from megatron_music.score.midi_reader import parse_midi
from tests.midi_bytes import GS_RESET, XG_ON, bank, gs_rhythm, midi_bytes, note, program

VIOLIN, FLUTE, BASS = 40, 73, 32


def played(*chunks: bytes) -> list[int]:
    return [track.instrument for track in parse_midi(midi_bytes(*chunks), "a.mid").tracks]


def port(number: int) -> bytes:
    return bytes([0, 0xFF, 0x21, 1, number])


SETUP = program(0, VIOLIN) + program(1, FLUTE) + program(2, BASS)
PARTS = [note(channel) for channel in range(3)]
OWN = program(0, VIOLIN) + note(0)
KIT = bank(4, 127) + program(4, 8) + note(4)
PORTS = port(1) + note(0) + program(0, FLUTE) + port(2) + note(0) + port(1) + note(0)
XG_PART = bytes([0, 0xF0, 8, 0x43, 0x10, 0x4C, 0x08, 3, 0x07, 2, 0xF7])
MANY = program(1, 5) + note(1) + note(0) + program(1, 3) + note(1) + note(9) + program(0, 7)


@pytest.mark.parametrize(
    ("told", "chunks", "instruments"),
    [
        ("a set-up track's hold for the others", [SETUP, *PARTS], [VIOLIN, FLUTE, BASS]),
        ("and where it comes last", [*PARTS, SETUP], [VIOLIN, FLUTE, BASS]),
        ("at one tick a track's own counts", [OWN, program(0, FLUTE) + note(0)], [VIOLIN, FLUTE]),
        ("a later one of another track replaces it", [OWN + note(0, 84), program(0, FLUTE, 100)],
         [VIOLIN, FLUTE]),
        ("ports have channels of their own", [program(0, VIOLIN), port(1) + note(0)], [0]),
        ("of one port", [port(1) + program(0, VIOLIN), port(1) + note(0)], [VIOLIN]),
        ("a port is found as it was left",
         [program(0, VIOLIN) + port(1) + program(0, FLUTE) + note(0) + port(0) + note(0)],
         [VIOLIN, FLUTE]),
        ("several ports", [PORTS], [0, FLUTE, 0]),
        ("whatever another track sets", [PORTS, program(5, VIOLIN), note(5)],
         [0, FLUTE, 0, VIOLIN]),
        ("a note stays in the one it began in",
         [b"\x00\xc0\x05\x00\x90\x3c\x40\x10\xc0\x06\x10\x80\x3c\x40"], [5]),
        ("a bank counts from the next programme on", [program(4, 8) + bank(4, 127) + note(4)], [8]),
        ("and so does the way back",
         [bank(4, 127) + program(4, 0) + bank(4, 0) + note(4) + program(4, 8) + note(4)],
         [8, DRUMS]),
        ("bank 127 of a GS device is no drum kit", [GS_RESET + KIT], [8]),
        ("wherever it is reset", [KIT, GS_RESET], [8]),
        ("but of an XG device", [GS_RESET + XG_ON + KIT], [DRUMS]),
        ("channel 10 is drums", [program(9, 8) + note(9)], [DRUMS]),
        ("unless GS makes it melodic", [gs_rhythm(10, 0) + program(9, 8) + note(9)], [8]),
        ("XG sets the mode of a part", [XG_PART + note(3)], [DRUMS]),
        ("tracks are chunk, channel and programme", [MANY], [0, 3, 5, DRUMS]),
    ],
)  # fmt: skip
def test_the_programme_of_a_channel(told: str, chunks: list[bytes], instruments: list[int]) -> None:
    assert played(*chunks) == instruments, told


def test_a_programme_holds_from_the_tick_where_it_is_set() -> None:
    setup = program(0, VIOLIN) + program(0, FLUTE, 100)
    early, late = parse_midi(midi_bytes(setup, note(0) + note(0, 84) + note(0, 9)), "a").tracks
    assert (early.instrument, early.onset.tolist()) == (VIOLIN, [0])
    assert (late.instrument, late.onset.tolist()) == (FLUTE, [100, 125])


@pytest.mark.parametrize("number", [120, 126, 127])
def test_banks_for_drums_make_drums_of_any_channel(number: int) -> None:
    assert played(bank(4, number) + program(4, 8) + note(4)) == [DRUMS]
    assert played(bank(4, number), program(4, 8), note(4)) == [DRUMS]


@pytest.mark.parametrize("part", [1, 9, 11, 16])
def test_gs_uses_parts_for_rhythm_and_back(part: int) -> None:
    channel = part - 1
    events = gs_rhythm(part, 1) + note(channel) + gs_rhythm(part, 0) + note(channel)
    assert played(events) == [0, DRUMS]
    assert played(gs_rhythm(part, 2), note(channel)) == [DRUMS]
