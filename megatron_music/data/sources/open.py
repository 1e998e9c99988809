"""Open the source of a data set: an ordered list of pieces that can be read."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from megatron_music.data.settings import BuildSettings, for_own_music
from megatron_music.data.sources.archive import kind_of, list_archive
from megatron_music.data.sources.catalog import (
    COLLECTIONS,
    Collection,
    collection_named,
    nearest_names,
)
from megatron_music.data.sources.fetch import found
from megatron_music.data.sources.folder import list_folder
from megatron_music.data.sources.item import MUSIC_SUFFIXES, Item
from megatron_music.data.sources.labels import Labels, joined
from megatron_music.data.workers.limits import uncollected
from megatron_music.errors import MissingError, UsageError
from megatron_music.formatting import printable
from megatron_music.progress import Progress

_FILES_PER_SHARD = 512
_USUAL_FILE_BYTES = 10_000  # of a multi-track file, compressed


@dataclass(frozen=True)
class Source:
    """Pieces in a fixed order, listed but not read.

    - `fingerprint` is a hash of the names and sizes of the pieces, or of the version of the package
      that holds them; it does not depend on the path.
    - `stamp` also changes when a piece is written to; `changed_ns` is when that last happened, 0 if
      it cannot. Workers read the contents; their digests go into the manifest.
    - `index` lists the pieces of an archive, in place of `items`; it may write into its folder.
    - `labels` has composers, genres and the like. `own` names folders whose songs were left out
      because this program composed them.
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
    index: Callable[[Path, Progress], Sequence[Item]] | None = None
    labels: tuple[Labels, ...] = ()
    own: tuple[str, ...] = ()


def open_source(text: str, music: Path | None = None) -> Source:
    """Return the collection of a name, or the folder or archive of a path.

    Collections that come with music21 may be joined: bach+palestrina. `music` is where a collection
    with a name is stored; by default it is looked for where `fetch` puts it.
    Raises MissingError for a collection that is not here, UsageError for what is neither.
    """
    several = [collection_named(name) for name in text.split("+")]
    inside = [one for one in several if one is not None and one.embedded and not one.is_text]
    if 1 < len(several) == len(inside):
        return _embedded(inside, music)
    collection = collection_named(text)
    if collection is None:
        if music is not None:
            raise UsageError(
                f"{text!r} is not a collection; --source is the path of one that has a name: "
                f"{', '.join(known.name for known in COLLECTIONS if not known.embedded)}"
            )
        return _at(Path(text), _unknown(text))
    if collection.is_text:
        raise UsageError(f"{collection.name} holds words and no music; data build reads it as text")
    if collection.embedded:
        return _embedded([collection], music)
    place = music or found(collection)
    if place is None and collection.download is None:
        raise MissingError(f"{collection.name} is not here: {collection.access}")
    if place is None:
        raise MissingError(
            f"{collection.name} must be downloaded first ({collection.size}, "
            f"{collection.licence}, see {collection.where}): {collection.access}"
        )
    neither = f"no folder and no file {place}; give the path of {collection.name}"
    source = _at(place, neither)
    return replace(
        source,
        name=collection.name,
        title=collection.title,
        licence=collection.licence,
        citation=collection.citation,
        preferred=collection.preferred,
    )


def _embedded(collections: Sequence[Collection], music: Path | None) -> Source:
    """Return the pieces of collections in music21, one or several as one.

    With COMPOSER and GENRE where there are several of either. Bach's chorales among others are
    built with the settings that the others prefer. Raises UsageError where `music` names files.
    """
    from megatron_music.data.sources.corpus import (
        CHORALES_PER_SHARD,
        corpus_fingerprint,
        list_corpus,
    )

    if music is not None:
        known = collections[0]
        raise UsageError(f"{known.name} is {known.where}; leave --source out")
    names = [known.name for known in collections]
    items, labels = list_corpus(names)
    only = collections[0] if len(collections) == 1 else None
    fingerprint = corpus_fingerprint()
    # "bach" alone keeps the fingerprint that it has in data sets of older versions.
    if names != ["bach"]:
        fingerprint = f"{fingerprint} {'+'.join(names)}"
    source = Source(
        name="+".join(names),
        title="; ".join(known.title for known in collections),
        licence=only.licence
        if only
        else "; ".join(f"{of.name}: {of.licence}" for of in collections),
        citation="; ".join(known.citation for known in collections),
        fingerprint=fingerprint,
        items=items,
        items_per_shard=CHORALES_PER_SHARD,
        preferred=max(collections, key=lambda of: of.name != "bach").preferred,
    )
    return labelled(source, labels) if len(set(labels.rows.values())) > 1 else source


def labelled(source: Source, *more: Labels) -> Source:
    """Return a source whose pieces have these labels, too; raises UsageError."""
    labels = joined((*source.labels, *more))
    marks = (source.fingerprint, *(part.fingerprint for part in more))
    return replace(source, labels=labels, fingerprint=_hash(marks) if more else source.fingerprint)


def _at(path: Path, neither: str) -> Source:
    if path.parts[:1] == ("~",):  # where no shell has put the home folder
        path = path.expanduser()
    if path.is_dir():
        return folder_source(path)
    if path.is_file():
        return archive_source(path)
    raise UsageError(neither)


def folder_source(folder: Path) -> Source:
    """Return the MIDI files in a folder and below, by name; raises UsageError if none."""
    # A million tuples: the collector would look through them again and again.
    with uncollected():
        listing = list_folder(str(folder))
        files = listing.files
        fingerprint = _hash([(name, size_bytes) for name, size_bytes, _ in listing.rows])
        changed_ns = [changed for _, _, changed in listing.rows]
    if not files:
        raise UsageError(
            f"no music in {folder} or below (looked for {', '.join(MUSIC_SUFFIXES)}"
            + (", and left out songs composed here" if listing.own else "")
            + "); give a folder or an archive of MIDI or score files"
        )
    return Source(
        name=printable(folder.resolve().name),
        title=f"MIDI files of the folder {printable(folder.resolve().name)}",
        licence="that of the files; find it out before you pass anything on",
        citation="none known",
        fingerprint=fingerprint,
        items=files,
        preferred=for_own_music(len(files)),
        stamp=_hash(changed_ns),
        changed_ns=max(changed_ns),
        own=tuple(listing.own),
    )


def archive_source(path: Path) -> Source:
    """Return the MIDI files in a tar or zip archive; raises UsageError for other files."""
    kind_of(path)
    status = path.stat()
    return Source(
        name=printable(path.name),
        title=f"MIDI files of the archive {printable(path.name)}",
        licence="that of the files; find it out before you pass anything on",
        citation="none known",
        fingerprint=f"an archive of {status.st_size} bytes",
        items=(),
        preferred=for_own_music(status.st_size // _USUAL_FILE_BYTES),
        stamp=str(status.st_ctime_ns),
        changed_ns=status.st_ctime_ns,
        index=partial(list_archive, path),
    )


def _unknown(text: str) -> str:
    near = nearest_names(text)
    meant = f" (did you mean {' or '.join(near)}?)" if near else ""
    names = ", ".join(known.name for known in COLLECTIONS)
    return (
        f"no collection and no folder {text!r}{meant}; there are {names}, "
        "and the path of a folder of MIDI files, or of a .tar, .tar.gz or .zip of them, works too"
    )


def _hash(facts: Sequence[object]) -> str:
    return hashlib.sha256(os.fsencode(repr(facts))).hexdigest()
