"""An archive of MIDI files, read without being unpacked: tar, compressed or not, and zip.

Workers read members by their place, in any order, as they read the files of a folder. A zip has a
directory of places; a tar is passed over once, from header to header. A compressed tar cannot be
read by place: it is decompressed once, and the bytes of its MIDI members (no others, and none
under a name of its own) are laid one behind another in one file of the build's work folder. That
file lets several workers read at once and in the order of names, which makes the data set the
same as that of the folder; it lets a killed build go on without decompressing again; and no
process holds more than one member in memory. It goes when the data set is complete.

Names are labels, never paths: nothing is written where an archive says.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tarfile import is_tarfile
from zipfile import is_zipfile

from megatron_music.data import archive_formats
from megatron_music.data.archive_formats import Span
from megatron_music.data.items import MUSIC_SUFFIXES, FileItem, Item, Unusable
from megatron_music.errors import UsageError
from megatron_music.files import atomic_write
from megatron_music.progress import Progress

_PACKED_FILE = "members.bin"
_PLACES_FILE = "members.json"
_OTHERS = {b"Rar!": "RAR", b"7z\xbc\xaf": "7-Zip", b"\x28\xb5\x2f\xfd": "Zstandard"}
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ": "xz"}
_ZIPS = (b"PK\x03\x04", b"PK\x05\x06")
_PROGRAMS = (b"MZ", b"#!", b"\x7fELF")  # a zip may follow one that unpacks it


def kind_of(path: Path) -> str:
    """Return what a file begins like: zip, gzip, bz2, xz or tar; raises UsageError for others."""
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
    if start.startswith(_ZIPS) or (start.startswith(_PROGRAMS) and is_zipfile(path)):
        return "zip"
    kind = next((kind for magic, kind in _COMPRESSIONS.items() if start.startswith(magic)), "tar")
    if kind == "tar" and path.suffix.lower() != ".tar" and not is_tarfile(path):
        raise UsageError(
            f"{path} is neither a folder nor an archive; give a folder of MIDI files, or a .tar, "
            ".tar.gz or .zip of them"
        )
    return kind


def list_archive(path: Path, work: Path, progress: Progress) -> Sequence[Item]:
    """Return the MIDI files in an archive, in the order of their names.

    What has to be unpacked is, into `work`, unless it is there already. Raises DataError for an
    archive that is damaged, cut short or absurd, UsageError for one without music.
    """
    kind = kind_of(path)
    if kind == "zip":
        items: Iterable[FileItem] = archive_formats.zip_members(path)
    elif kind == "tar":
        items = archive_formats.tar_members(path, progress)
    else:
        items = _unpacked(path, kind, work, progress)
    # Put members in the order of their names; of those with one name, the last counts
    ordered = sorted(items, key=lambda item: os.fsencode(item.name))
    last = {item.name: place for place, item in enumerate(ordered)}
    settled = [
        item
        if last[item.name] == place
        else Unusable(item.name, "replaced", "a later member has the same name")
        for place, item in enumerate(ordered)
    ]
    if not settled:
        raise UsageError(
            f"no music in {path} (looked for {', '.join(MUSIC_SUFFIXES)}; archives within "
            "archives are not opened)"
        )
    return settled


def _unpacked(path: Path, kind: str, work: Path, progress: Progress) -> Iterator[FileItem]:
    packed, places = work / _PACKED_FILE, work / _PLACES_FILE
    if not places.exists():
        rows = archive_formats.unpack_tar(path, kind, packed, progress)
        with atomic_write(places) as temporary:
            temporary.write_text(json.dumps(rows), encoding="ascii")
    for name, *rest in json.loads(places.read_text(encoding="ascii")):
        if isinstance(rest[0], str):
            reason, detail = rest
            yield Unusable(name, reason, detail)
        else:
            offset, size_bytes = rest
            yield Span(str(packed), offset, size_bytes, name)
