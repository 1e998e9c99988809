"""Build a data set folder of words; its songs are read twice, to plan and to write.

Memory holds a few numbers for each song, so files can have any size.
"""

import hashlib
import shutil
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt

from megatron_music.data.build_steps import Builder, Result
from megatron_music.data.indexed import write_index_of
from megatron_music.data.manifest import (
    TOKENIZER_FOLDER,
    describe,
    key_of,
    source_record,
    split_record,
    write_manifest,
)
from megatron_music.data.records import KEPT, RECORDS_FILE, REFUSED, FileRecord, line
from megatron_music.data.settings import SPLITS
from megatron_music.data.shards.scan import LENGTHS_SUFFIX
from megatron_music.data.split import FEW_PIECES, first_word, split_of, weights_for_few
from megatron_music.errors import DataError
from megatron_music.progress import Stage, silent_stage
from megatron_music.text.documents import TextDocument, documents
from megatron_music.text.duplicates import Sketches, words_of
from megatron_music.text.songs import Song, TextSource
from megatron_music.text.vocabularies import of_byte_pairs, of_characters, of_folder
from megatron_music.text.words_settings import TextBuildSettings
from megatron_music.tokenizer.text_vocabulary import TextSettings, TextVocabulary
from megatron_music.tokenizer.vocabulary import token_dtype

FORMAT = 1
"""Raised with each change after which the same songs and settings give other bytes."""

_BATCH_SONGS = 256
_DUPLICATE = "duplicate"
_KIND = "text"

_DETAILS = {
    "empty": "no word in it",
    "not text": "its bytes are of no encoding",
    "damaged": "not a JSON object",
}

Item = TypeVar("Item")

Read = Callable[[str], Iterator[Song]]
"""Reads the songs from the first, and shows progress under a title."""


@dataclass
class SongScan:
    """The result of the first reading: for each song its refusal, and the key of its split."""

    reasons: list[str] = field(default_factory=list)  # each of a handful of shared strings
    split_words: "array[int]" = field(default_factory=lambda: array("Q"))
    characters: Counter[str] = field(default_factory=Counter)
    has_artists: bool = False
    has_titles: bool = False
    original: dict[int, int] = field(default_factory=dict)
    split: tuple[int, ...] = ()

    def split_of_song(self, number: int) -> str:
        """Return the split of a song."""
        return split_of(f"{self.split_words[number]:016x}", self.split)


@dataclass
class _Split:
    """The files of one split while they are written."""

    tokens: BinaryIO
    lengths: BinaryIO
    counts: npt.NDArray[np.int64]
    by_length: npt.NDArray[np.int64]
    songs: int = 0
    characters: int = 0

    def add(self, made: list[TextDocument]) -> None:
        """Write the documents of a song."""
        self.songs += 1
        for one in made:
            self.tokens.write(one.tokens.astype(token_dtype(len(self.counts))).tobytes())
            self.lengths.write(np.int32(len(one.tokens)).tobytes())
            self.counts += np.bincount(one.tokens, minlength=len(self.counts))
            self.by_length[len(one.tokens)] += 1
            self.characters += one.characters

    def record(self) -> dict[str, Any]:
        """Return the record of the split for a manifest."""
        lengths = np.trim_zeros(self.by_length, "b")
        return {**split_record(self.songs, lengths), "characters": self.characters}


class TextBuilder(Builder):
    """A data set of the songs of a source; an interrupted build starts again."""

    work_name = _KIND
    resumes = False

    def __init__(self, source: TextSource, settings: TextBuildSettings, stage: Stage) -> None:
        self.source, self.settings, self.stage = source, settings, stage
        self.key = key_of(
            {"format": FORMAT, "source": source.fingerprint, "settings": settings.record()}
        )

    def difference(self, manifest: dict[str, Any]) -> str:
        """Return a text on how another data set differs."""
        del manifest
        return "other songs or settings"

    def make(self, work: Path) -> Path:
        """Write all files of a data set below a folder; return the folder that holds them."""
        shutil.rmtree(work, ignore_errors=True)
        final = work / "final"
        final.mkdir(parents=True)
        found = _scan(self._read, self.settings, work)
        vocabulary = _vocabulary(found, self.settings, self._read)
        splits = _write(self._read, found, vocabulary, final)
        vocabulary.save(final / TOKENIZER_FOLDER)
        refused = Counter(reason for reason in found.reasons if reason)
        manifest: dict[str, Any] = {
            "kind": _KIND,
            "format": FORMAT,
            "key": self.key,
            **describe(
                source_record(self.source),
                self.settings.record(),
                vocabulary,
                len(found.reasons) - refused.total(),
                refused,
                {name: split.record() for name, split in splits.items()},
                {name: split.counts for name, split in splits.items()},
            ),
            "grid": None,
        }
        write_manifest(final, manifest, text_card(manifest))
        return final

    def _read(self, title: str) -> Iterator[Song]:
        """Give the songs from the first; `title` is that of the progress."""
        source = self.source
        with self.stage(f"{title} {source.name}", "KB") as progress:
            yield from source.read(lambda done: progress(done >> 10, source.size_bytes >> 10))


def build_text(
    source: TextSource,
    folder: Path,
    settings: TextBuildSettings | None = None,
    force: bool = False,
    stage: Stage = silent_stage,
) -> Result:
    """Build a data set of words, or find it up to date.

    Raises UsageError where the folder holds something else (unless `force`), DataError where there
    is nothing to train on, WriteError where nothing can be written.
    """
    return TextBuilder(source, settings or TextBuildSettings(), stage).build(folder, force)


def _scan(read: Read, settings: TextBuildSettings, work: Path) -> SongScan:
    """Read all songs once: find duplicates, choose splits, count characters.

    Raises DataError where nothing is left to train on.
    """
    found = SongScan(split=settings.split)
    sketches = Sketches(work)
    usable: list[int] = []
    for songs in _batches(read("read")):
        good = [one for one in songs if not one.reason]
        for song in songs:
            if not song.reason:
                usable.append(len(found.reasons))
            found.reasons.append(song.reason)
            # The split follows from artist and title; without a title, from the words.
            parts = (
                [song.artist.casefold(), song.title.casefold()]
                if song.title
                else words_of(song.text)
            )
            word = first_word(hashlib.sha256("\n".join(parts).encode()).hexdigest())
            found.split_words.append(word)
        if good:
            sketches.add([one.text for one in good])
        for song in good:
            found.characters.update(song.text)
            found.characters.update(song.artist + song.title)
        found.has_artists |= any(one.artist for one in good)
        found.has_titles |= any(one.title for one in good)
    # Only now: which texts are nearly the same is known once all have been added.
    for place, first in enumerate(sketches.first_of_each().tolist()):
        if first != place:
            found.reasons[usable[place]] = _DUPLICATE
            found.original[usable[place]] = usable[first]
    _deal_out(found)
    return found


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Give items in lists of some."""
    source = iter(items)
    while batch := list(islice(source, _BATCH_SONGS)):
        yield batch


def _deal_out(found: SongScan) -> None:
    """Give each split its share if songs are few; raises DataError if training has none."""
    kept = [number for number, reason in enumerate(found.reasons) if not reason]
    if not kept:
        refused = ", ".join(f"{n} {reason}" for reason, n in Counter(found.reasons).items())
        raise DataError(f"nothing to train on: no song could be kept ({refused or 'none there'})")
    words = {found.split_words[number] for number in kept}
    held = {found.split_of_song(number) for number in kept}
    wanted = {name for name, weight in zip(SPLITS, found.split, strict=True) if weight}
    if len(words) <= FEW_PIECES and wanted - held:
        found.split = weights_for_few(sorted(words), found.split)
    if SPLITS[0] not in {found.split_of_song(number) for number in kept}:
        raise DataError("nothing to train on: all songs are for validation and test; give more")


def _vocabulary(found: SongScan, settings: TextBuildSettings, read: Read) -> TextVocabulary:
    wanted = TextSettings(
        has_artists=found.has_artists,
        has_titles=found.has_titles,
        longest_tokens=settings.longest_tokens,
    )
    if settings.like is not None:
        return of_folder(settings.like, wanted)
    if settings.vocabulary is None:
        return of_characters(found.characters, wanted)
    # Of training songs alone: a vocabulary that has seen the held-out ones flatters the loss.
    texts = (
        "\n".join((song.artist, song.title, song.text))
        for number, song in enumerate(read("learn tokens of"))
        if not found.reasons[number] and found.split_of_song(number) == SPLITS[0]
    )
    return of_byte_pairs(texts, settings.vocabulary, wanted)


def _write(
    read: Read, found: SongScan, vocabulary: TextVocabulary, folder: Path
) -> dict[str, _Split]:
    """Read all songs again and write their documents and a record of each song."""
    longest = vocabulary.settings.longest_tokens
    # Names are not kept in memory; those of originals come up again in this pass, before copies.
    originals = dict.fromkeys(found.original.values(), "")
    with ExitStack() as stack:
        splits = {
            name: _Split(
                stack.enter_context((folder / f"{name}.bin").open("wb")),
                stack.enter_context((folder / f"{name}{LENGTHS_SUFFIX}").open("wb")),
                np.zeros(len(vocabulary), np.int64),
                np.zeros(longest + 1, np.int64),
            )
            for name in SPLITS
        }
        records = stack.enter_context((folder / RECORDS_FILE).open("wb"))
        for batch in _batches(enumerate(read("write"))):
            kept = [(number, song) for number, song in batch if not found.reasons[number]]
            made = dict(
                zip(
                    (number for number, _ in kept),
                    documents([song for _, song in kept], vocabulary),
                    strict=True,
                )
            )
            for number, song in batch:
                if number in originals:
                    originals[number] = song.name
                outcome = _outcome(number, song, found, made.get(number, []), originals)
                if outcome.split:
                    splits[outcome.split].add(made[number])
                records.write(line(outcome))
    for name in SPLITS:
        write_index_of(folder / f"{name}{LENGTHS_SUFFIX}", token_dtype(len(vocabulary)))
    return splits


def _outcome(
    number: int, song: Song, found: SongScan, made: list[TextDocument], originals: dict[int, str]
) -> FileRecord:
    """Return the record of a song."""
    reason = found.reasons[number]
    if reason:
        first = found.original.get(number)
        detail = (
            f"the words of {originals[first]}" if first is not None else _DETAILS.get(reason, "")
        )
        return FileRecord(song.name, REFUSED, reason, detail)
    return FileRecord(
        song.name,
        KEPT,
        split=found.split_of_song(number),
        documents=len(made),
        tokens=sum(len(one.tokens) for one in made),
        fingerprint=f"{found.split_words[number]:016x}",
    )


_PAGE = """\
# {title}, as tokens

Songs in Megatron's binary format: `--data-path` of stock Megatron-LM takes the prefix `train`,
and `tokenizer/` is a Hugging Face tokenizer folder.

- **Source**: {name}
- **Licence**: {licence}
- **Citation**: {citation}

## Contents

| split | songs | documents | tokens | characters |
|---|---|---|---|---|
{rows}

A document is a song, or a part of one that has more than {longest:,} tokens: it is cut at the end
of a line. Songs were assigned to a split by a hash of artist and title, or of their words, so that
no song is on two splits. Of songs whose words are nearly the same the first is kept.

Kept: {kept:,} of {total:,} songs; left out: {refused}. `files.jsonl` says what became of each.

Vocabulary: {size:,} {tokens}, hash `{hash}`. `megatron-music data verify` checks every byte.
"""


def text_card(manifest: Mapping[str, Any]) -> str:
    """Return the data card of a manifest, in Markdown."""
    inputs, tokenizer = manifest["inputs"], manifest["tokenizer"]
    refused = ", ".join(f"{count:,} {reason}" for reason, count in inputs["refused"].items())
    keys = ("pieces", "documents", "tokens", "characters")
    rows = [
        f"| {name} | " + " | ".join(f"{split[key]:,}" for key in keys) + " |"
        for name, split in manifest["splits"].items()
    ]
    names = ("title", "name", "licence", "citation")
    return _PAGE.format(
        **{name: manifest["source"][name] for name in names},
        rows="\n".join(rows),
        longest=tokenizer["longest_tokens"],
        kept=inputs["kept"],
        total=inputs["total"],
        refused=refused or "none",
        size=manifest["vocabulary_size"],
        tokens="characters and marks" if tokenizer["level"] == "characters" else "byte pairs",
        hash=manifest["vocabulary_hash"],
    )
