"""MIDI files for tests, byte by byte."""

HEADER = b"MThd\x00\x00\x00\x06"
END_OF_TRACK = b"\x00\xff\x2f\x00"
ONE_NOTE = b"\x00\x90\x3c\x40\x60\x80\x3c\x40"
FOUR_FOUR = b"\x00\xff\x58\x04\x04\x02\x18\x08"
GS_RESET = b"\x00\xf0\x0a\x41\x10\x42\x12\x40\x00\x7f\x00\x41\xf7"
XG_ON = b"\x00\xf0\x08\x43\x10\x4c\x00\x00\x7e\x00\xf7"


def chunk(name: bytes, body: bytes) -> bytes:
    """Return a chunk as MIDI files have it."""
    return name + len(body).to_bytes(4, "big") + body


def midi_bytes(*tracks: bytes, format_: int | None = None, division: int = 96) -> bytes:
    """Return a file of these tracks' events, to each of which its end is added."""
    kind = int(len(tracks) > 1) if format_ is None else format_
    header = kind.to_bytes(2) + len(tracks).to_bytes(2) + division.to_bytes(2)
    body = b"".join(chunk(b"MTrk", events + END_OF_TRACK) for events in tracks)
    return chunk(b"MThd", header) + body


def note(channel: int, tick: int = 0, pitch: int = 60) -> bytes:
    """Return a note of 16 ticks, so many ticks (at most 127) after what stands before it."""
    return bytes([tick, 0x90 | channel, pitch, 64, 16, pitch, 0])


def program(channel: int, number: int, tick: int = 0) -> bytes:
    """Return a change of programme."""
    return bytes([tick, 0xC0 | channel, number])


def bank(channel: int, number: int) -> bytes:
    """Return a bank's selection: it counts from the next programme on."""
    return bytes([0, 0xB0 | channel, 0, number])


def gs_rhythm(part: int, use: int) -> bytes:
    """Return GS data that use a part, counted from 1, for rhythm or not."""
    block = 0x10 | (0 if part == 10 else part - (part > 10))
    return bytes([0, 0xF0, 10, 0x41, 0x10, 0x42, 0x12, 0x40, block, 0x15, use, 0, 0xF7])


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return an RMID file of these chunks, padded to even sizes."""
    body = b"RMID" + b"".join(
        name + len(data).to_bytes(4, "little") + data + bytes(len(data) % 2)
        for name, data in chunks
    )
    return b"RIFF" + len(body).to_bytes(4, "little") + body
