"""Members of archives: tars (plain and compressed) and zips, read without unpacking to files.

A plain tar and a zip are read by position; a compressed tar is unpacked once into one file.
"""

import bz2
import gzip
import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from megatron_music.data.folders import too_large
from megatron_music.data.items import LARGEST_FILE_BYTES, MUSIC_SUFFIXES, FileItem, Unusable
from megatron_music.data.refusal import Refusal
from megatron_music.errors import DataError
from megatron_music.progress import Progress
from megatron_music.wording import counted

MOST_MEMBERS = 2_000_000
"""Four times the largest collection there is."""

FREE_BYTES = 1_000_000_000

MOST_EXPANSION = 200
"""An archive may grow to FREE_BYTES, and beyond them so many times its own size."""

Row = tuple[str, int, int] | tuple[str, str, str]
"""A member that was unpacked: name, offset, size; or one that was not: name, reason, detail."""

_OPENERS: dict[str, Callable[[Any], Any]] = {
    "tar": lambda file: file,
    "gzip": gzip.open,
    "bz2": bz2.open,
    "xz": lzma.open,
}
_DAMAGE = (EOFError, zlib.error, lzma.LZMAError, OSError)
_LARGEST_READ_BYTES = max(1 << 20, LARGEST_FILE_BYTES)
_STEP_BYTES = 1 << 20
_LARGEST_DIRECTORY_BYTES = 128_000_000
_HEADER_BYTES = 30
_ENCRYPTED = 1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)


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


class _Stream:
    """A tar's bytes from beginning to end, with an eye on how they grow."""

    def __init__(self, path: Path, kind: str, file: IO[bytes], progress: Progress) -> None:
        self._path, self._file, self._progress = path, file, progress
        self._expanded: Any = _OPENERS[kind](file)
        self._compressed = kind != "tar"
        self._size_bytes = path.stat().st_size
        self._at = 0
        self._told, self._total = -1, self._size_bytes // 1_000_000 + 1

    def tell(self) -> int:
        """Return how many bytes have been passed."""
        return self._at

    def read(self, size_bytes: int) -> bytes:
        """Read on; raises DataError where the stream is damaged or asks for far too much."""
        if not 0 <= size_bytes <= _LARGEST_READ_BYTES:
            raise self.damaged(f"a header of {size_bytes:,} bytes")
        try:
            raw: bytes = self._expanded.read(size_bytes)
            packed_bytes = self._file.tell()
        except _DAMAGE as fault:
            raise self.damaged(str(fault)) from None
        self._at += len(raw)
        if self._compressed:
            check_expansion(packed_bytes, self._at, self._path)
        # Report megabytes that are new; that all is done, `finish` says
        done = packed_bytes // 1_000_000
        if self._told < done < self._total:
            self._told = done
            self._progress(done, self._total)
        return raw

    def seek(self, place: int) -> None:
        """Go on to a place; raises DataError if it lies behind."""
        if place < self._at:
            raise self.damaged("a member that begins before the one before it")
        if not self._compressed:
            if place > self._size_bytes:
                raise self.damaged("it is cut short")
            self._at = self._file.seek(place)
        while self._at < place and self.read(min(_STEP_BYTES, place - self._at)):
            pass

    def finish(self) -> None:
        """Read what is left of a compressed stream: its checksum stands at the very end."""
        while self._compressed and self.read(_STEP_BYTES):
            pass
        self._progress(self._total, self._total)

    def damaged(self, how: str) -> DataError:
        """Return the error that says how this archive is damaged."""
        how = " ".join(how.split())
        return DataError(
            f"{self._path} is no whole tar archive ({how}); fetch it again, or unpack_tar what is "
            "there and give its folder"
        )


class _Header(tarfile.TarInfo):
    """A header that is never passed over: an archive that is cut short does not look complete."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        """Read a header; raises ReadError where there should be one and is none."""
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as fault:
            how = "it is cut short" if len(buf) < tarfile.BLOCKSIZE else str(fault)
            raise tarfile.ReadError(how) from None


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


def _headers(stream: _Stream, path: Path) -> Iterator[tarfile.TarInfo]:
    """Give the headers of all tar_members, holding one at a time."""
    count = 0
    try:
        archive = tarfile.TarFile(
            fileobj=stream,  # type: ignore[arg-type]
            tarinfo=_Header,
            encoding="utf-8",
            errors="surrogateescape",
        )
        while (header := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]
            count += 1
            check_count(count, path)
            yield header
        stream.finish()
    except (tarfile.TarError, ValueError, LookupError, ArithmeticError, RecursionError) as fault:
        raise stream.damaged(f"after {counted(count, 'member')}: {fault}") from None


def _refusal(header: tarfile.TarInfo, name: str) -> Unusable | None:
    """Say why a member is not read, if it is not."""
    if header.islnk() or header.issym():
        return Unusable(name, "link", "a link within an archive")
    if not header.isreg() or header.issparse():
        return Unusable(name, "unreadable", "not a regular file")
    if header.size > LARGEST_FILE_BYTES:
        refusal = too_large(header.size)
        return Unusable(name, refusal.reason, str(refusal))
    return outside(name)


def _music(stream: _Stream, path: Path) -> Iterator[tuple[tarfile.TarInfo, str, Unusable | None]]:
    for header in _headers(stream, path):
        name = plain_name(header.name)
        if is_music(name) and not header.isdir():
            yield header, name, _refusal(header, name)


def tar_members(path: Path, progress: Progress) -> list[FileItem]:
    """Return the MIDI files of a plain tar, in its order; raises DataError."""
    with path.open("rb") as file:
        stream = _Stream(path, "tar", file, progress)
        return [
            refused or Span(str(path), header.offset_data, header.size, name)
            for header, name, refused in _music(stream, path)
        ]


def unpack_tar(path: Path, kind: str, packed: Path, progress: Progress) -> list[Row]:
    """Lay the MIDI files of a compressed tar one behind another; raises DataError, OSError."""
    rows: list[Row] = []
    with path.open("rb") as file, packed.open("wb") as out:
        stream = _Stream(path, kind, file, progress)
        for header, name, refused in _music(stream, path):
            if refused is not None:
                rows.append((name, refused.reason, refused.detail))
                continue
            stream.seek(header.offset_data)
            raw = stream.read(header.size)
            if len(raw) < header.size:
                raise stream.damaged("it is cut short")
            rows.append((name, out.tell(), out.write(raw)))
    return rows


def zip_members(path: Path) -> list[FileItem]:
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
