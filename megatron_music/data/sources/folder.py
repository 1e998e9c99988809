"""Files of music in a folder, listed without being opened; the tunes of ABC files as pieces."""

import errno
import os
import re
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import overload

from megatron_music.data.records import Refusal
from megatron_music.data.sources.item import (
    LARGEST_FILE_BYTES,
    MUSIC_SUFFIXES,
    File,
    FileItem,
    Item,
    SkippedItem,
    is_file,
)
from megatron_music.score.abc_tunes import split_tunes

ALBUM_FILE, KEPT_FOLDER = "album.json", "kept"
SONG_STEM = r"(song-\d+|prompt)(-\d+)?"
"""The names of what `sample` writes into a folder of songs: its list, favourites, songs."""

_SONG = re.compile(rf"{SONG_STEM}\.(mid|musicxml)")

_RUN_NAMES = {"config.yaml", "environment.json", "checkpoints"}
"""Files that mark the folder of a training run."""


@dataclass(frozen=True, slots=True)
class MidiFile(FileItem):
    """A MIDI file of a folder."""

    path: str
    name: str

    def raw(self) -> bytes:
        """Return the bytes of the file; raises Refusal."""
        try:
            # Not blocking: a pipe without a writer would keep a plain open waiting.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as fault:
            raise _unreadable(fault) from None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise Refusal("unreadable", "not a regular file")
            if status.st_size > LARGEST_FILE_BYTES:
                raise too_large(status.st_size)
            return os.read(descriptor, status.st_size)
        except OSError as fault:
            raise _unreadable(fault) from None
        finally:
            os.close(descriptor)


def too_large(size_bytes: int) -> Refusal:
    """Return the refusal of a file beyond the limit."""
    return Refusal("large", f"{size_bytes} bytes; the limit is {LARGEST_FILE_BYTES}")


def _unreadable(fault: OSError) -> Refusal:
    if fault.errno == errno.ENXIO:  # a socket
        return Refusal("unreadable", "not a regular file")
    return Refusal("unreadable", fault.strerror or str(fault))


class Files(Sequence[FileItem]):
    """The files in a folder and below, as items that are made on access, and what is refused.

    As `names` they travel to other processes in a tenth of the time; a million take little memory.
    """

    def __init__(self, folder: str, names: list[str], refused: Mapping[str, SkippedItem]) -> None:
        self._folder = folder
        self._refused = refused
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, at: int) -> FileItem: ...
    @overload
    def __getitem__(self, at: slice) -> "Files": ...
    def __getitem__(self, at: int | slice) -> "FileItem | Files":
        if isinstance(at, slice):
            names = self.names[at]
            refused = {name: self._refused[name] for name in names if name in self._refused}
            return Files(self._folder, names, refused)
        name = self.names[at]
        return self._refused.get(name) or MidiFile(f"{self._folder}/{name}", name)


def names_of(items: Sequence[Item]) -> list[str]:
    """Return the names of items without making all items, of which there may be millions."""
    return items.names if isinstance(items, Files) else [item.name for item in items]


@dataclass
class Listing:
    """What is in a folder and below; the files of this program's own songs and runs are not in it.

    `rows` has of each file its name, its size in bytes and when it last changed in ns, -1 and 0
    where these are not known; `refused` what cannot be read, by name; `own` the folders whose songs
    are left out.
    """

    folder: str
    rows: list[tuple[str, int, int]] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    refused: dict[str, SkippedItem] = field(default_factory=dict)

    @property
    def files(self) -> Files:
        """The files as items."""
        return Files(self.folder, [name for name, _, _ in self.rows], self.refused)

    def refuse(self, within: str, fault: OSError) -> None:
        """Note a folder that cannot be read."""
        name, reason = within or ".", fault.strerror or str(fault)
        self.refused[name] = SkippedItem(name, "unreadable", f"a folder: {reason}")


def list_folder(folder: str) -> Listing:
    """Return the MIDI files in a folder and below, by name; links are followed, each folder once.

    A folder that cannot be read is listed, and refused. Songs and runs of this program are not
    listed: a model is not to learn from what it composed.
    """
    found = Listing(folder)
    seen: set[tuple[int, int]] = set()
    waiting = [(folder, "")]
    while waiting:
        path, within = waiting.pop()
        try:
            place = os.stat(path)  # noqa: PTH116 (hundreds of thousands: strings are quicker)
        except OSError as fault:  # gone since its parent was listed
            found.refuse(within, fault)
            continue
        # A link to a folder above would otherwise be followed for ever.
        if (place.st_dev, place.st_ino) not in seen:
            seen.add((place.st_dev, place.st_ino))
            below = _list(path, within, found)
            waiting += [
                (f"{path}/{name}", f"{within}{name}/") for name in sorted(below, reverse=True)
            ]
    found.rows += [(name, -1, 0) for name in found.refused]
    # By bytes, not by the locale: the same data set on every machine.
    found.rows.sort(key=lambda row: os.fsencode(row[0]))
    found.own.sort()
    return found


def _list(path: str, within: str, found: Listing) -> list[str]:
    """Note the files of a folder, whose names begin with `within`; return the folders in it."""
    folders, files = [], []
    names: set[str] = set()
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                if _is_folder(entry):
                    folders.append(name)
                elif name.lower().endswith(MUSIC_SUFFIXES):
                    files.append((within + name, *_status(entry)))
                names.add(name)
    except OSError as fault:
        found.refuse(within, fault)
    # Songs that this program composed must not become training data of the next model.
    if names >= _RUN_NAMES:
        found.own.append(within or ".")
        return []
    if ALBUM_FILE in names:
        songs = [file for file in files if _SONG.fullmatch(file[0][len(within) :])]
        files = [file for file in files if file not in songs]
        found.own += [within or "."] * bool(songs)
        folders = [name for name in folders if name != KEPT_FOLDER]
    found.rows += files
    return folders


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _status(entry: os.DirEntry[str]) -> tuple[int, int]:
    try:
        status = entry.stat()
    except OSError:  # a broken link
        return -1, 0
    # The kernel sets this time when contents, name or owner change; no program can set it back.
    return status.st_size, status.st_ctime_ns


_SUFFIX = ".abc"


@dataclass(frozen=True, slots=True)
class Tune(FileItem):
    """One tune of an ABC file, counted from 1; its name is the name of the file and `#2`."""

    file: File
    number: int
    name: str

    def raw(self) -> bytes:
        """Return the tune with its file's header; raises Refusal."""
        tunes = split_tunes(self.file.raw())
        if self.number > len(tunes):
            raise Refusal("unreadable", f"the file has {len(tunes)} tunes now")
        return tunes[self.number - 1]


def with_tunes(items: Sequence[Item]) -> Sequence[Item]:
    """Return the items, each tune of an ABC file that holds several as one; reads those files."""
    # A folder of a million MIDI files stays a list of names, without an item for each.
    if not any(name.lower().endswith(_SUFFIX) for name in names_of(items)):
        return items
    separated: list[Item] = []
    for item in items:
        count = 1
        is_one_piece = isinstance(item, FileItem) and item.is_one_piece
        if item.name.lower().endswith(_SUFFIX) and is_file(item) and not is_one_piece:
            with suppress(Refusal):  # it is refused again, with its reason, when it is encoded
                count = len(split_tunes(item.raw()))
            if count > 1:
                names = (f"{item.name}#{number}" for number in range(1, count + 1))
                separated += [Tune(item, number, name) for number, name in enumerate(names, 1)]
                continue
        separated.append(item)
    return separated
