"""Members of archives: which count, what their names may be, how much they may be in all."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from megatron_music.data.items import MUSIC_SUFFIXES, FileItem, Unusable
from megatron_music.data.refusal import Refusal
from megatron_music.errors import DataError

MOST_MEMBERS = 2_000_000
"""Four times the largest collection there is."""

FREE_BYTES = 1_000_000_000
MOST_EXPANSION = 200
"""An archive may grow to FREE_BYTES, and beyond them so many times its own size."""


@dataclass(frozen=True, slots=True)
class Span(FileItem):
    """A file of music that is some bytes of another file."""

    path: str
    offset: int
    size_bytes: int
    name: str

    def raw(self) -> bytes:
        """Return its bytes; raises Refusal."""
        return read_at(self.path, self.offset, self.size_bytes)


def read_at(path: str, offset: int, size_bytes: int) -> bytes:
    """Return so many bytes from a place of a file on; raises Refusal."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            raw = os.pread(descriptor, size_bytes, offset)
        finally:
            os.close(descriptor)
    except (OSError, OverflowError) as fault:  # overflow: a place beyond any file
        raise Refusal("unreadable", getattr(fault, "strerror", None) or str(fault)) from None
    if len(raw) < size_bytes:
        raise Refusal("unreadable", "the archive ends before it")
    return raw


def is_music(name: str) -> bool:
    """Tell whether a member is one that counts; archives in archives are not opened."""
    return name.lower().endswith(MUSIC_SUFFIXES)


def plain_name(name: str) -> str:
    """Return a member's name without what says nothing, such as a leading `./`."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    return ("/" if name.startswith("/") else "") + "/".join(parts)


def outside(name: str) -> Unusable | None:
    """Refuse a member whose name leads out of the folder that it would be unpacked into."""
    parts = re.split(r"[/\\]", name)
    if parts[0] == "" or ".." in parts or re.match(r"[A-Za-z]:", name):
        return Unusable(name, "outside", "its name leads out of the archive")
    return None


def check_expansion(packed_bytes: int, unpacked_bytes: int, path: Path) -> None:
    """Stop at an archive that grows as no music does; raises DataError."""
    if unpacked_bytes > max(FREE_BYTES, MOST_EXPANSION * packed_bytes):
        raise DataError(
            f"{path} grows from {packed_bytes:,} to over {unpacked_bytes:,} bytes, as archives do "
            "that are made to fill disks; if you trust it, unpack it and give its folder"
        )


def check_count(members: int, path: Path) -> None:
    """Stop at an archive with more members than any collection has; raises DataError."""
    if members > MOST_MEMBERS:
        raise DataError(
            f"{path} has over {MOST_MEMBERS:,} members; split it, or unpack it and give its folder"
        )
