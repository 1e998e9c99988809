"""Where the music of a data set comes from: an ordered list of pieces that can be read."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from megatron_music.data.catalog import COLLECTIONS, Collection, collection_named, nearest_names
from megatron_music.data.folders import MidiFile, list_folder
from megatron_music.data.items import LARGEST_FILE_BYTES, MIDI_SUFFIXES, Item
from megatron_music.data.settings import BuildSettings
from megatron_music.errors import MissingError, UsageError

__all__ = ["LARGEST_FILE_BYTES", "Item", "MidiFile", "Source", "folder_source", "open_source"]

_FILES_PER_SHARD = 256


@dataclass(frozen=True)
class Source:
    """Pieces in a fixed order, listed but not read.

    `fingerprint` is that of the listing: the names and sizes of the pieces, or the version of
    what holds them; it is the same wherever they lie. `stamp` changes whenever a piece is written
    to as well, and `changed_ns` is when that last happened (0 where it cannot). Contents are read
    once, by the workers, whose digests tell the manifest what they were.
    """

    name: str
    title: str
    licence: str
    citation: str
    fingerprint: str
    items: Sequence[Item]
    items_per_shard: int = _FILES_PER_SHARD
    preferred: BuildSettings = field(default_factory=BuildSettings)
    stamp: str = ""
    changed_ns: int = 0


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
    entries = list_folder(str(folder))
    if not entries:
        raise UsageError(
            f"no MIDI file in {folder} or below (looked for {', '.join(MIDI_SUFFIXES)}); "
            "give a folder of MIDI files"
        )
    return Source(
        name=folder.resolve().name,
        title=f"MIDI files of the folder {folder.resolve().name}",
        licence="that of the files; find it out before you pass anything on",
        citation="none known",
        fingerprint=_hash([(entry.item.name, entry.size_bytes) for entry in entries]),
        items=[entry.item for entry in entries],
        stamp=_hash([entry.changed_ns for entry in entries]),
        changed_ns=max(entry.changed_ns for entry in entries),
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


def _hash(facts: Sequence[object]) -> str:
    return hashlib.sha256(os.fsencode(repr(facts))).hexdigest()
