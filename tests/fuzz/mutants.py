"""MIDI files that were sound once: bytes changed, events put in and taken out, files crossed."""

import random
from collections.abc import Callable, Sequence
from itertools import pairwise

from tests.midi_bytes import GS_RESET, XG_ON, gs_rhythm

ODD_EVENTS = (
    b"\x00\xff\x58\x04\x03\x02\x18\x08",
    b"\x00\xff\x58\x04\x04\x02\x18\x08",
    b"\x00\xff\x58\x04\x00\x00\x00\x00",
    b"\x00\xff\x58\x04\x06\x03\x18\x08",
    b"\x00\xff\x58\x04\x04\xff\x18\x08",
    b"\x00\xff\x51\x03\x00\x00\x00",
    b"\x00\xff\x51\x03\xff\xff\xff",
    b"\x00\xff\x03\x04Alto",
    b"\x00\xff\x2f\x00",
    b"\x00\xc0\x34",
    b"\x00\xc9\x7f",
    b"\x00\x90\x3c\x40",
    b"\x00\x80\x3c\x40",
    b"\x00\x99\x24\x40",
    b"\xff\xff\xff\x7f\xb0\x07\x40",
    b"\x83\x00\x90\x7f\x7f",
    b"\x00\xf0\x03\x01\x02\xf7",
    b"\x00\xf8",
    b"\x00\xff\x21\x01\x01",
    b"\x00\xb0\x00\x7f",
    b"\x00\xb0\x00\x78",
    *(GS_RESET, XG_ON, gs_rhythm(1, 1), gs_rhythm(10, 0)),
)
ODD_BYTES = (0x00, 0x01, 0x7F, 0x80, 0x81, 0x90, 0x99, 0xC0, 0xF0, 0xF7, 0xFF)
DIVISIONS = (0, 1, 2, 3, 5, 24, 96, 480, 960, 0x7FFF, 0x8000, 0xE728, 0xFFFF)

Raw = bytearray
Mutation = Callable[[Raw, random.Random, Sequence[bytes]], None]


def _place(raw: Raw, rng: random.Random) -> int:
    return rng.randrange(len(raw) + 1)


def change(raw: Raw, rng: random.Random, _: Sequence[bytes]) -> None:
    """Change a byte, most often to one that means something."""
    if raw:
        place = rng.randrange(len(raw))
        raw[place] = rng.choice(ODD_BYTES) if rng.random() < 0.6 else rng.randrange(256)


def flip(raw: Raw, rng: random.Random, _: Sequence[bytes]) -> None:
    """Turn one bit."""
    if raw:
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)


def drop(raw: Raw, rng: random.Random, _: Sequence[bytes]) -> None:
    """Take some bytes out."""
    place = _place(raw, rng)
    del raw[place : place + rng.choice((1, 2, 3, 4, 30, 300))]


def repeat(raw: Raw, rng: random.Random, _: Sequence[bytes]) -> None:
    """Say some bytes again."""
    place = _place(raw, rng)
    raw[place:place] = raw[place : place + rng.choice((4, 8, 40, 400))] * rng.choice((1, 2, 20))


def insert(raw: Raw, rng: random.Random, _: Sequence[bytes]) -> None:
    """Put an odd event somewhere."""
    place = _place(raw, rng)
    raw[place:place] = rng.choice(ODD_EVENTS)


def begin(raw: Raw, rng: random.Random, _: Sequence[bytes]) -> None:
    """Put odd events at the beginning of a chunk, and tell its header."""
    place = _chunk(raw, rng)
    if place is not None:
        size = int.from_bytes(raw[place + 4 : place + 8])
        events = b"".join(rng.choices(ODD_EVENTS, k=rng.choice((1, 1, 2, 30))))
        raw[place + 8 : place + 8] = events
        raw[place + 4 : place + 8] = min(size + len(events), 2**32 - 1).to_bytes(4)


def resize(raw: Raw, rng: random.Random, _: Sequence[bytes]) -> None:
    """Make a chunk say another size."""
    place = _chunk(raw, rng)
    if place is not None:
        size = int.from_bytes(raw[place + 4 : place + 8])
        other = rng.choice((0, size - 1, size + 1, size * 2, 2**31 - 1, 2**31, 2**32 - 1))
        raw[place + 4 : place + 8] = (other % 2**32).to_bytes(4)


def rehead(raw: Raw, rng: random.Random, _: Sequence[bytes]) -> None:
    """Change format, number of chunks or ticks in the header."""
    if len(raw) >= 14:
        field = rng.choice((8, 10, 12, 12))
        value = rng.choice(DIVISIONS) if field == 12 else rng.choice((0, 1, 2, 3, 255, 65535))
        raw[field : field + 2] = value.to_bytes(2)


def cross(raw: Raw, rng: random.Random, others: Sequence[bytes]) -> None:
    """Go on with the rest of another file."""
    other = rng.choice(others)
    del raw[_place(raw, rng) :]
    raw += other[rng.randrange(len(other) + 1) :]


def end(raw: Raw, rng: random.Random, _: Sequence[bytes]) -> None:
    """Cut the file off."""
    del raw[_place(raw, rng) :]


def wrap(raw: Raw, _: random.Random, __: Sequence[bytes]) -> None:
    """Put the file into RIFF."""
    raw[0:0] = b"RIFF\x00\x00\x00\x00RMIDDISP\x03\x00\x00\x00odd\x00data\x00\x00\x00\x00"


def mend(raw: Raw) -> None:
    """Let every chunk say its true size, so that what is odd lies within."""
    places = _chunks(raw)
    for place, following in pairwise([*places, len(raw)]):
        raw[place + 4 : place + 8] = (following - place - 8).to_bytes(4)


def _chunks(raw: Raw) -> list[int]:
    places: list[int] = []
    while (place := raw.find(b"MTrk", places[-1] + 8 if places else 0)) >= 0:
        places.append(place)
    return [place for place in places if place + 8 <= len(raw)]


def _chunk(raw: Raw, rng: random.Random) -> int | None:
    places = _chunks(raw)
    return rng.choice(places) if places else None


MUTATIONS: tuple[Mutation, ...] = (
    change, change, flip, drop, repeat, insert, begin, begin, resize, rehead, cross, end, wrap,
)  # fmt: skip


def mutant(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Return one of the seeds, changed once or a few times."""
    raw = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 10))):
        rng.choice(MUTATIONS)(raw, rng, seeds)
    if rng.random() < 0.6:
        mend(raw)
    return bytes(raw[:200_000])
