"""Where the music of a data set comes from: an ordered list of pieces that can be read."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from megatron_music.data.catalog import COLLECTIONS, Collection, collection_named, nearest_names
from megatron_music.data.refusal import Refusal
from megatron_music.data.settings import BuildSettings
from megatron_music.errors import MissingError, UsageError
from megatron_music.score.notes import Score

MIDI_SUFFIXES = (".mid", ".midi")
LARGEST_FILE_BYTES = 8_000_000
"""A hundred times the usual size of a multi-track file."""

_FILES_PER_SHARD = 256


class Item(Protocol):
    """One piece of a source: small, and able to travel to another process."""

    @property
    def name(self) -> str:
        """What the piece is called in `files.jsonl`."""

    def read(self) -> Score:
        """Read the piece; raises Refusal or MidiError."""


@dataclass(frozen=True)
class Source:
    """Pieces in a fixed order; `fingerprint` changes whenever any of their contents does."""

    name: str
    title: str
    licence: str
    citation: str
    fingerprint: str
    items: Sequence[Item]
    items_per_shard: int = _FILES_PER_SHARD
    preferred: BuildSettings = field(default_factory=BuildSettings)


@dataclass(frozen=True)
class MidiFile:
    """A MIDI file of a folder."""

    path: str
    name: str

    def read(self) -> Score:
        """Read the file, unless it is far too large or not a file at all."""
        from megatron_music.score.midi import parse_midi

        # Named within the source: a data set must not depend on where its source lies.
        return parse_midi(self.raw(), self.name)

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
                limit = f"the limit is {LARGEST_FILE_BYTES}"
                raise Refusal("large", f"{status.st_size} bytes; {limit}")
            return os.read(descriptor, status.st_size)
        except OSError as fault:
            raise Refusal("unreadable", fault.strerror or str(fault)) from None
        finally:
            os.close(descriptor)


def _unreadable(fault: OSError) -> Refusal:
    if fault.errno == errno.ENXIO:  # a socket
        return Refusal("unreadable", "not a regular file")
    return Refusal("unreadable", fault.strerror or str(fault))


def open_source(text: str) -> Source:
    """Return the collection of a name or the folder of a path.

    Raises MissingError for a collection to be downloaded first, UsageError for what is neither.
    """
    collection = collection_named(text)
    if collection is not None and collection.embedded:
        return _embedded(collection)
    if collection is not None:
        raise MissingError(
            f"{collection.name} must be downloaded first ({collection.size}, {collection.where}): "
            f"{collection.access}"
        )
    folder = Path(text)
    if not folder.is_dir():
        raise UsageError(_unknown(text))
    return folder_source(folder)


def folder_source(folder: Path) -> Source:
    """Return the MIDI files in a folder and below, by name; raises UsageError if none."""
    items = sorted(_walk(folder), key=lambda item: os.fsencode(item.name))
    if not items:
        raise UsageError(
            f"no MIDI file in {folder} or below (looked for {', '.join(MIDI_SUFFIXES)}); "
            "give a folder of MIDI files"
        )
    return Source(
        name=folder.resolve().name,
        title=f"MIDI files of the folder {folder.resolve().name}",
        licence="that of the files; find it out before you pass anything on",
        citation="none known",
        fingerprint=_contents(items),
        items=items,
    )


def _embedded(collection: Collection) -> Source:
    from megatron_music.data import chorales

    return Source(
        name=collection.name,
        title=collection.title,
        licence=collection.licence,
        citation=collection.citation,
        fingerprint=chorales.fingerprint(),
        items=chorales.chorales(),
        items_per_shard=chorales.CHORALES_PER_SHARD,
        preferred=collection.preferred,
    )


def _unknown(text: str) -> str:
    near = nearest_names(text)
    meant = f" (did you mean {' or '.join(near)}?)" if near else ""
    names = ", ".join(known.name for known in COLLECTIONS)
    return (
        f"no collection and no folder {text!r}{meant}; there are {names}, "
        "and the path of a folder of MIDI files works too"
    )


def _walk(folder: Path) -> Iterator[MidiFile]:
    seen: set[tuple[int, int]] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        place = os.stat(parent)  # noqa: PTH116 (hundreds of thousands of paths: strings are quicker)
        if (place.st_dev, place.st_ino) in seen:
            folders.clear()
            continue
        seen.add((place.st_dev, place.st_ino))
        folders.sort()
        for name in files:
            if name.lower().endswith(MIDI_SUFFIXES):
                path = os.path.join(parent, name)  # noqa: PTH118
                yield MidiFile(path, os.path.relpath(path, folder).replace(os.sep, "/"))


def _contents(items: Sequence[MidiFile]) -> str:
    digest = hashlib.sha256()
    for item in items:
        digest.update(os.fsencode(item.name) + b"\0" + _content(item))
    return digest.hexdigest()


def _content(item: MidiFile) -> bytes:
    try:
        return hashlib.sha256(item.raw()).digest()
    except Refusal as refusal:
        return f"{refusal.reason}: {refusal}".encode()
