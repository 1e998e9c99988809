"""Zip archives: their directory is read once, their members by place."""

import bz2
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from megatron_music.data.folders import too_large
from megatron_music.data.items import LARGEST_FILE_BYTES, FileItem, Unusable
from megatron_music.data.members import (
    check_count,
    check_expansion,
    is_music,
    outside,
    plain_name,
    read_at,
)
from megatron_music.data.refusal import Refusal
from megatron_music.errors import DataError

_LARGEST_DIRECTORY_BYTES = 128_000_000
_HEADER_BYTES = 30
_ENCRYPTED = 1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)


@dataclass(frozen=True, slots=True)
class ZipMember(FileItem):
    """A MIDI file of a zip: where its header lies, how large it is there and in truth."""

    path: str
    offset: int
    packed_bytes: int
    size_bytes: int
    checksum: int
    method: int
    name: str

    def raw(self) -> bytes:
        """Return its bytes; raises Refusal, at the latest when they exceed the limit."""
        header = read_at(self.path, self.offset, _HEADER_BYTES)
        if not header.startswith(b"PK\x03\x04"):
            raise Refusal("unreadable", "damaged within the archive")
        name_bytes, extra_bytes = struct.unpack_from("<HH", header, 26)
        place = self.offset + _HEADER_BYTES + name_bytes + extra_bytes
        raw = self._expand(read_at(self.path, place, self.packed_bytes))
        if len(raw) > LARGEST_FILE_BYTES:
            raise too_large(len(raw))
        if len(raw) != self.size_bytes or zlib.crc32(raw) != self.checksum:
            raise Refusal("unreadable", "damaged within the archive")
        return raw

    def _expand(self, packed: bytes) -> bytes:
        """Decompress to one byte beyond the limit at most."""
        try:
            if self.method == zipfile.ZIP_DEFLATED:
                return zlib.decompressobj(-15).decompress(packed, LARGEST_FILE_BYTES + 1)
            if self.method == zipfile.ZIP_BZIP2:
                return bz2.BZ2Decompressor().decompress(packed, LARGEST_FILE_BYTES + 1)
        except (zlib.error, OSError, EOFError):
            raise Refusal("unreadable", "damaged within the archive") from None
        return packed


class _Directory:
    """A zip file for `zipfile`, which reads a directory whole, however large it says it is."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.seek, self.tell, self.close = self._file.seek, self._file.tell, self._file.close

    def read(self, size_bytes: int = -1) -> bytes:
        if size_bytes > _LARGEST_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"a directory of {size_bytes:,} bytes")
        return self._file.read(size_bytes)

    def seekable(self) -> bool:
        return True


def members(path: Path) -> list[FileItem]:
    """Return the MIDI files of a zip, in its order; raises DataError."""
    file = _Directory(path)
    try:
        with zipfile.ZipFile(file) as archive:
            found = archive.infolist()
    except Exception as fault:  # on damaged directories, zipfile raises whatever happens
        raise DataError(
            f"{path} is no whole zip archive ({' '.join(str(fault).split())}); fetch it again, or "
            "unpack what is there and give its folder"
        ) from None
    finally:
        file.close()
    check_count(len(found), path)
    music = [info for info in found if is_music(info.filename)]
    check_expansion(path.stat().st_size, sum(info.file_size for info in music), path)
    return [_member(info, path) for info in music]


def _member(info: zipfile.ZipInfo, path: Path) -> FileItem:
    name = plain_name(info.filename)
    packed_bytes, size_bytes = info.compress_size, info.file_size
    if stat.S_ISLNK(info.external_attr >> 16):
        return Unusable(name, "link", "a link within an archive")
    if info.flag_bits & _ENCRYPTED:
        return Unusable(name, "encrypted", "it asks for a password; unpack the archive with it")
    if info.compress_type not in _METHODS:
        return Unusable(name, "unreadable", f"packed by method {info.compress_type}; unpack it")
    if max(packed_bytes, size_bytes) > LARGEST_FILE_BYTES:
        refusal = too_large(max(packed_bytes, size_bytes))
        return Unusable(name, refusal.reason, str(refusal))
    refused = outside(name)
    return refused or ZipMember(
        str(path),
        info.header_offset,
        packed_bytes,
        size_bytes,
        info.CRC,
        info.compress_type,
        name,
    )
