"""An archive of MIDI files, zip or tar in any compression, read in one pass.

The bytes of its music are written one after another into one file of the build's work folder, with
a list of names and offsets; other members are skipped. Workers read members by offset, several at
once and in the order of names, so the data set is the same as that of the folder. A build that was
killed uses the file again and decompresses nothing; the file is removed when the data set is
complete. The copy takes as much disk as the music; in exchange there is one way to read every kind
of archive, and only one process meets hostile headers.

Names are labels, never paths: nothing is written where an archive says.
"""

import bz2
import gzip
import json
import lzma
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from megatron_music.data.records import Refusal
from megatron_music.data.sources.folder import too_large
from megatron_music.data.sources.item import (
    LARGEST_FILE_BYTES,
    MUSIC_SUFFIXES,
    FileItem,
    Item,
    SkippedItem,
)
from megatron_music.errors import DataError, UsageError
from megatron_music.files import atomic_write
from megatron_music.formatting import counted
from megatron_music.progress import Progress

_PACKED_FILE = "members.bin"
_PLACES_FILE = "members.json"
_OTHERS = {b"Rar!": "RAR", b"7z\xbc\xaf": "7-Zip", b"\x28\xb5\x2f\xfd": "Zstandard"}
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ": "xz"}
_ZIPS = (b"PK\x03\x04", b"PK\x05\x06")
_PROGRAMS = (b"MZ", b"#!", b"\x7fELF")  # a zip may follow one that unpacks it


MOST_MEMBERS = 2_000_000
"""Four times the largest collection there is."""

FREE_BYTES = 1_000_000_000

MOST_EXPANSION = 200
"""An archive may expand to FREE_BYTES, or to this many times its own size if that is more."""

Row = tuple[str, int, int, str, str]
"""A member: its name, offset and size in bytes, or why it is refused: reason and detail."""

_Member = tuple[str, bytes | SkippedItem]
"""The name of a member and its bytes, or its refusal."""

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
_ENCRYPTED = 1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)


def kind_of(path: Path) -> str:
    """Return the kind of an archive, zip, gzip, bz2, xz or tar; raises UsageError for others."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as fault:
        raise UsageError(f"cannot read {path}: {fault.strerror}") from None
    other = next((name for magic, name in _OTHERS.items() if start.startswith(magic)), None)
    if start.startswith(b"MThd") or (path.suffix.lower() in MUSIC_SUFFIXES):
        raise UsageError(f"{path} is one file of music; give a folder or an archive of many")
    if other is not None:
        raise UsageError(
            f"{path} is a {other} archive; .tar, .tar.gz and .zip can be read: unpack it and give "
            "its folder"
        )
    # By its beginning, not by its name: downloads are often misnamed.
    if start.startswith(_ZIPS) or (start.startswith(_PROGRAMS) and zipfile.is_zipfile(path)):
        return "zip"
    kind = next((kind for magic, kind in _COMPRESSIONS.items() if start.startswith(magic)), "tar")
    if kind == "tar" and path.suffix.lower() != ".tar" and not tarfile.is_tarfile(path):
        raise UsageError(
            f"{path} is neither a folder nor an archive; give a folder of MIDI files, or a .tar, "
            ".tar.gz or .zip of them"
        )
    return kind


def list_archive(path: Path, work: Path, progress: Progress) -> Sequence[Item]:
    """Return the music in an archive, in the order of names; its bytes are written into `work`.

    What an earlier call wrote there is not read again. Raises DataError for an archive that is
    damaged, cut short or expands too far, UsageError for one without music.
    """
    kind = kind_of(path)
    packed, places = work / _PACKED_FILE, work / _PLACES_FILE
    if not places.exists():
        rows = unpack(path, kind, packed, progress)
        with atomic_write(places) as temporary:
            temporary.write_text(json.dumps(rows), encoding="ascii")
    items: list[FileItem] = []
    for name, place, size_bytes, reason, detail in json.loads(places.read_text(encoding="ascii")):
        if reason:
            items.append(SkippedItem(name, reason, detail))
        else:
            items.append(Span(str(packed), place, size_bytes, name))
    items.sort(key=lambda item: os.fsencode(item.name))
    # Of members with the same name the last counts, as when an archive is unpacked.
    last = {item.name: place for place, item in enumerate(items)}
    settled = [
        item
        if last[item.name] == place
        else SkippedItem(item.name, "replaced", "a later member has the same name")
        for place, item in enumerate(items)
    ]
    if not settled:
        raise UsageError(
            f"no music in {path} (looked for {', '.join(MUSIC_SUFFIXES)}; archives within "
            "archives are not opened)"
        )
    return settled


def unpack(path: Path, kind: str, packed: Path, progress: Progress) -> list[Row]:
    """Write the music of an archive into one file, in its order; raises DataError, OSError."""
    rows: list[Row] = []
    members = _zip_members(path, progress) if kind == "zip" else _tar_members(path, kind, progress)
    with packed.open("wb") as out:
        for name, content in members:
            if isinstance(content, SkippedItem):
                rows.append((name, 0, 0, content.reason, content.detail))
            else:
                rows.append((name, out.tell(), out.write(content), "", ""))
    return rows


@dataclass(frozen=True, slots=True)
class Span(FileItem):
    """A file of music that is some bytes of another file."""

    path: str
    offset: int
    size_bytes: int
    name: str

    def raw(self) -> bytes:
        """Return its bytes; raises Refusal."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
            try:
                raw = os.pread(descriptor, self.size_bytes, self.offset)
            finally:
                os.close(descriptor)
        except OSError as fault:
            raise Refusal("unreadable", fault.strerror or str(fault)) from None
        if len(raw) < self.size_bytes:
            raise Refusal("unreadable", "the file of the archive's members ends before it")
        return raw


class _Stream:
    """The decompressed bytes of a tar, read forwards, with a check of how far they expand."""

    def __init__(self, path: Path, kind: str, file: IO[bytes], progress: Progress) -> None:
        self._path, self._file, self._progress = path, file, progress
        self._expanded: Any = _OPENERS[kind](file)
        self._compressed = kind != "tar"
        self._size_bytes = path.stat().st_size
        self._at = 0
        self._reported, self._total = -1, self._size_bytes // 1_000_000 + 1

    def tell(self) -> int:
        """Return how many bytes have been read or skipped."""
        return self._at

    def read(self, size_bytes: int) -> bytes:
        """Return the next bytes; raises DataError where the stream is damaged or a size absurd."""
        # tarfile would read any size that a header states.
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
        # The last megabyte is reported by `finish`, once all is checked.
        done = packed_bytes // 1_000_000
        if self._reported < done < self._total:
            self._reported = done
            self._progress(done, self._total)
        return raw

    def seek(self, place: int) -> None:
        """Skip to a later place; raises DataError for an earlier one."""
        if place < self._at:
            raise self.damaged("a member that begins before the one before it")
        if not self._compressed:
            if place > self._size_bytes:
                raise self.damaged("it is cut short")
            self._at = self._file.seek(place)
        while self._at < place and self.read(min(_STEP_BYTES, place - self._at)):
            pass

    def finish(self) -> None:
        """Read the rest of a compressed stream: its checksum is at the very end."""
        while self._compressed and self.read(_STEP_BYTES):
            pass
        self._progress(self._total, self._total)

    def damaged(self, how: str) -> DataError:
        """Return the error for damage of this archive."""
        how = " ".join(how.split())
        return DataError(
            f"{self._path} is damaged or not a tar archive ({how}); fetch it again, or unpack what "
            "is there and give its folder"
        )


class _Header(tarfile.TarInfo):
    """A header whose damage is an error: tarfile takes a broken one for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        """Read a header; raises ReadError where it is missing or damaged."""
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as fault:
            how = "it is cut short" if len(buf) < tarfile.BLOCKSIZE else str(fault)
            raise tarfile.ReadError(how) from None


class _Directory:
    """A zip file for `zipfile` with a limit on its directory, which that reads as a whole."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.seek, self.tell, self.close = self._file.seek, self._file.tell, self._file.close

    def read(self, size_bytes: int = -1) -> bytes:
        """Read some bytes; raises BadZipFile for more than a directory has."""
        if size_bytes > _LARGEST_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"a directory of {size_bytes:,} bytes")
        return self._file.read(size_bytes)

    def seekable(self) -> bool:
        """Return True: it is a file."""
        return True


def is_music(name: str) -> bool:
    """Tell whether a member is music by its name; archives in archives are not opened."""
    return name.lower().endswith(MUSIC_SUFFIXES)


def plain_name(name: str) -> str:
    """Return a member's name without empty parts, such as a leading `./`."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    return ("/" if name.startswith("/") else "") + "/".join(parts)


def outside(name: str) -> SkippedItem | None:
    """Refuse a member whose name points outside of the folder that it would be unpacked into."""
    parts = re.split(r"[/\\]", name)
    if parts[0] == "" or ".." in parts or re.match(r"[A-Za-z]:", name):
        return SkippedItem(name, "outside", "its name points outside of the archive")
    return None


def check_expansion(packed_bytes: int, unpacked_bytes: int, path: Path) -> None:
    """Raise DataError for an archive that expands far more than music does."""
    if unpacked_bytes > max(FREE_BYTES, MOST_EXPANSION * packed_bytes):
        raise DataError(
            f"{path} grows from {packed_bytes:,} to over {unpacked_bytes:,} bytes, as an archive "
            "made to fill disks does; if you trust it, unpack it and give its folder"
        )


def check_count(members: int, path: Path) -> None:
    """Raise DataError for an archive with more members than any collection has."""
    if members > MOST_MEMBERS:
        raise DataError(
            f"{path} has over {MOST_MEMBERS:,} members; split it, or unpack it and give its folder"
        )


def _headers(stream: _Stream, path: Path) -> Iterator[tarfile.TarInfo]:
    """Give the headers of all members of a tar, keeping one at a time."""
    count = 0
    try:
        archive = tarfile.TarFile(
            fileobj=stream,  # type: ignore[arg-type]
            tarinfo=_Header,
            encoding="utf-8",
            errors="surrogateescape",
        )
        while (header := archive.next()) is not None:
            # tarfile keeps every header, which for millions of members fills the memory.
            archive.members.clear()  # type: ignore[attr-defined]
            count += 1
            check_count(count, path)
            yield header
        stream.finish()
    except (tarfile.TarError, ValueError, LookupError, ArithmeticError, RecursionError) as fault:
        raise stream.damaged(f"after {counted(count, 'member')}: {fault}") from None


def _tar_members(path: Path, kind: str, progress: Progress) -> Iterator[_Member]:
    """Give the music of a tar, in its order; raises DataError."""
    with path.open("rb") as file:
        stream = _Stream(path, kind, file, progress)
        for header in _headers(stream, path):
            name = plain_name(header.name)
            if header.isdir() or not is_music(name):
                continue
            if header.islnk() or header.issym():
                yield name, SkippedItem(name, "link", "a link within an archive")
            elif not header.isreg() or header.issparse():
                yield name, SkippedItem(name, "unreadable", "not a regular file")
            elif (refused := _too_large(name, header.size) or outside(name)) is not None:
                yield name, refused
            else:
                stream.seek(header.offset_data)
                raw = stream.read(header.size)
                if len(raw) < header.size:
                    raise stream.damaged("it is cut short")
                yield name, raw


def _zip_members(path: Path, progress: Progress) -> Iterator[_Member]:
    """Give the music of a zip, in its order; raises DataError."""
    file = _Directory(path)
    try:
        try:
            archive = zipfile.ZipFile(file)
        except Exception as fault:  # zipfile raises many kinds of errors for damaged directories
            raise DataError(
                f"{path} is damaged or not a zip archive ({' '.join(str(fault).split())}); "
                "fetch it again, or unpack what is there and give its folder"
            ) from None
        found = archive.infolist()
        check_count(len(found), path)
        music = [info for info in found if is_music(info.filename)]
        unpacked_bytes = sum(info.file_size for info in music)
        check_expansion(path.stat().st_size, unpacked_bytes, path)
        total, done_bytes = unpacked_bytes // 1_000_000 + 1, 0
        for info in music:
            name = plain_name(info.filename)
            content: bytes | SkippedItem | None = _zip_refusal(info, name)
            if content is None:
                try:
                    content = archive.read(info)  # once its size and checksum are right
                except Exception:  # zipfile and zlib raise many kinds of errors for damage
                    content = SkippedItem(name, "unreadable", "damaged within the archive")
            yield name, content
            if done_bytes // 1_000_000 < (done_bytes + info.file_size) // 1_000_000:
                progress((done_bytes + info.file_size) // 1_000_000, total)
            done_bytes += info.file_size
        progress(total, total)
    finally:
        file.close()


def _zip_refusal(info: zipfile.ZipInfo, name: str) -> SkippedItem | None:
    """Return why a member cannot be read, if it cannot."""
    if stat.S_ISLNK(info.external_attr >> 16):
        return SkippedItem(name, "link", "a link within an archive")
    if info.flag_bits & _ENCRYPTED:
        return SkippedItem(name, "encrypted", "it asks for a password; unpack the archive with it")
    # LZMA is left out: its header may ask for a dictionary of 4 GB.
    if info.compress_type not in _METHODS:
        return SkippedItem(name, "unreadable", f"packed by method {info.compress_type}; unpack it")
    return _too_large(name, max(info.compress_size, info.file_size)) or outside(name)


def _too_large(name: str, size_bytes: int) -> SkippedItem | None:
    if size_bytes <= LARGEST_FILE_BYTES:
        return None
    refusal = too_large(size_bytes)
    return SkippedItem(name, refusal.reason, str(refusal))
