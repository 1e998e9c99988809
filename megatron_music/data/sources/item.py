"""The items of a source: reading a piece, refusing it, and the digest of its bytes."""

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeGuard

from megatron_music.data.records import Refusal
from megatron_music.data.sources.score_cache import cached_score
from megatron_music.progress import Progress
from megatron_music.score.notation import SCORE_SUFFIXES, is_score
from megatron_music.score.notes import Score

MIDI_SUFFIXES = (".mid", ".midi", ".kar", ".rmi")
"""The suffixes of MIDI files: plain, karaoke, and in RIFF."""

MUSIC_SUFFIXES = (*MIDI_SUFFIXES, *SCORE_SUFFIXES)
"""The suffixes of all files that are read: MIDI, MusicXML, ABC and Humdrum kern."""

LARGEST_FILE_BYTES = 8_000_000
"""The limit: a hundred times the usual size of a multi-track file."""

DIGEST_BYTES = 16
_NO_DIGEST = bytes(DIGEST_BYTES)


class Item(Protocol):
    """One piece of a source: small, since it is sent to workers."""

    @property
    def name(self) -> str:
        """What the piece is called in `files.jsonl`."""

    def read(self) -> Score:
        """Read the piece; raises Refusal or MusicFileError."""


class File(Item, Protocol):
    """An item that is a file of music."""

    def raw(self) -> bytes:
        """Return its bytes; raises Refusal."""

    def parse(self, raw: bytes) -> Score:
        """Return the piece in its bytes; raises Refusal or MusicFileError."""


def is_file(item: Item) -> TypeGuard[File]:
    """Tell whether an item has bytes, as a file does."""
    return hasattr(item, "raw")


class FileItem:
    """A file of MIDI or of notation, in a folder or in an archive."""

    __slots__ = ()

    name: str

    @property
    def is_one_piece(self) -> bool:
        """Whether the tunes of an ABC file are parts of one piece."""
        return False

    def read(self) -> Score:
        """Read its bytes as a piece; raises Refusal or MusicFileError."""
        return self.parse(self.raw())

    def parse(self, raw: bytes) -> Score:
        """Parse bytes by the suffix of the name; raises MusicFileError."""
        if is_score(self.name):
            return cached_score(raw, self.name)
        from megatron_music.score.midi_reader import parse_midi

        # Named within the source: a data set must not depend on the path of its source.
        return parse_midi(raw, self.name)

    def raw(self) -> bytes:
        """Return its bytes; raises Refusal."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class SkippedItem(FileItem):
    """A piece that is refused without being read."""

    name: str
    reason: str
    detail: str

    def raw(self) -> bytes:
        """Raise the refusal."""
        raise Refusal(self.reason, self.detail)


class ReadOnce(Item):
    """An item that is read only once; its music is kept."""

    def __init__(self, item: Item) -> None:
        self._item = item
        self._score: Score | None = None

    @property
    def name(self) -> str:
        """What the piece is called in `files.jsonl`."""
        return self._item.name

    def read(self) -> Score:
        """Read the piece, the first time; raises Refusal or MusicFileError."""
        if self._score is None:
            self._score = self._item.read()
        return self._score


class SungFile(Item):
    """A MIDI file whose music is read with its words."""

    def __init__(self, file: File) -> None:
        self._file = file

    @property
    def name(self) -> str:
        """What the piece is called in `files.jsonl`."""
        return self._file.name

    def read(self) -> Score:
        """Read the piece and its words; raises Refusal or MusicFileError."""
        from megatron_music.score.music_file import parse_sung

        return parse_sung(self._file.raw(), self.name).score


def with_words(item: Item) -> Item:
    """Return an item whose music is read with its words; only MIDI files need a wrapper."""
    return SungFile(item) if is_file(item) and not is_score(item.name) else item


class HashedItem(FileItem):
    """A file that keeps the digest of its bytes once they are read."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._digest = b""
        self.name = file.name

    def raw(self) -> bytes:
        """Return its bytes; raises Refusal."""
        from xxhash import xxh3_128_digest  # notices change at memory speed; it is not a signature

        try:
            raw = self._file.raw()
        except Refusal as refusal:
            # A refusal has a digest as well: the file may be readable next time.
            self._digest = self._digest or xxh3_128_digest(f"{refusal.reason}: {refusal}".encode())
            raise
        self._digest = self._digest or xxh3_128_digest(raw)
        return raw

    def parse(self, raw: bytes) -> Score:
        """Return the piece in its bytes; raises Refusal or MusicFileError."""
        return self._file.parse(raw)

    def digest(self) -> bytes:
        """Return DIGEST_BYTES that change with the bytes, which are read unless they have been."""
        if not self._digest:
            with suppress(Refusal):
                self.raw()
        return self._digest


def hashed(items: Iterable[Item]) -> list[Item]:
    """Wrap the items that are files, so that `digests` need not read them again."""
    return [HashedItem(item) if is_file(item) else item for item in items]


def digests(items: Iterable[Item]) -> bytes:
    """Return DIGEST_BYTES for each item, zeros for one without bytes."""
    return b"".join(item.digest() if isinstance(item, HashedItem) else _NO_DIGEST for item in items)


def contents(items: Sequence[Item], progress: Progress) -> str:
    """Return the hash of all digests in order: everything is read for it."""
    total = hashlib.sha256()
    for done, item in enumerate(hashed(items), 1):
        total.update(digests([item]))
        progress(done, len(items))
    return total.hexdigest()
