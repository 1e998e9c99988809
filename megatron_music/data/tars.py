"""Tar archives, compressed or not, passed over once and never backwards."""

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from megatron_music.data.folders import too_large
from megatron_music.data.items import LARGEST_FILE_BYTES, FileItem, Unusable
from megatron_music.data.members import (
    Span,
    check_count,
    check_expansion,
    is_music,
    outside,
    plain_name,
)
from megatron_music.errors import DataError
from megatron_music.progress import Progress
from megatron_music.wording import counted

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
        self._tell(packed_bytes // 1_000_000)
        return raw

    def _tell(self, done: int) -> None:
        """Report megabytes that are new; that all is done, `finish` says."""
        if self._told < done < self._total:
            self._told = done
            self._progress(done, self._total)

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
            f"{self._path} is no whole tar archive ({how}); fetch it again, or unpack what is "
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


def _headers(stream: _Stream, path: Path) -> Iterator[tarfile.TarInfo]:
    """Give the headers of all members, holding one at a time."""
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


def members(path: Path, progress: Progress) -> list[FileItem]:
    """Return the MIDI files of a plain tar, in its order; raises DataError."""
    with path.open("rb") as file:
        stream = _Stream(path, "tar", file, progress)
        return [
            refused or Span(str(path), header.offset_data, header.size, name)
            for header, name, refused in _music(stream, path)
        ]


def unpack(path: Path, kind: str, packed: Path, progress: Progress) -> list[Row]:
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
