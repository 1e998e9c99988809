"""From songs to a data set folder of words: read once to look, once more to write.

What is in memory are some numbers a song, so that files of any size can be built from.
"""

import hashlib
import json
import shutil
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt

from megatron_music.data.dedup import FEW_PIECES, first_word, split_of, weights_for_few
from megatron_music.data.indexed import write_index_of
from megatron_music.data.join import Joined
from megatron_music.data.manifest import (
    MANIFEST_FILE,
    file_records,
    key_of,
    read_manifest,
    sealed,
    side_record,
    unigram_entropy,
)
from megatron_music.data.outcomes import KEPT, OUTCOMES_FILE, REFUSED, Outcome, line
from megatron_music.data.place import (
    CARD_FILE,
    TOKENIZER_FOLDER,
    WORK_FOLDER,
    Result,
    busy,
    check_place,
    publish,
)
from megatron_music.data.settings import SPLITS
from megatron_music.data.survey import LENGTHS_SUFFIX
from megatron_music.errors import DataError, UsageError, WriteError
from megatron_music.files import file_lock, find_damaged, os_error_reason
from megatron_music.progress import Stage, silent_stage
from megatron_music.text.card import text_card
from megatron_music.text.documents import TextDocument, documents
from megatron_music.text.duplicates import Sketches, words_of
from megatron_music.text.settings import TextBuildSettings
from megatron_music.text.songs import Song, TextSource
from megatron_music.text.vocabularies import of_byte_pairs, of_characters, of_folder
from megatron_music.tokenizer.text_vocabulary import TextSettings, TextVocabulary
from megatron_music.tokenizer.vocabulary import token_dtype

FORMAT = 1
"""Raised whenever the same songs and settings come to give other bytes."""

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
"""Reads the songs from the first, and shows the step of this title."""


@dataclass
class Survey:
    """What the first reading found: for each song why it is refused, and what decides its side."""

    reasons: list[str] = field(default_factory=list)  # each of a handful of shared strings
    sides_words: "array[int]" = field(default_factory=lambda: array("Q"))
    characters: Counter[str] = field(default_factory=Counter)
    has_artists: bool = False
    has_titles: bool = False
    original: dict[int, int] = field(default_factory=dict)
    split: tuple[int, ...] = ()

    def side(self, number: int) -> str:
        """Return the side of a song."""
        return split_of(f"{self.sides_words[number]:016x}", self.split)


@dataclass
class _Side:
    """The files of one side while they are written."""

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
        """Return what a manifest tells of the side."""
        documents = int(self.by_length.sum())
        lengths = np.trim_zeros(self.by_length, "b")
        record = side_record(self.songs, documents, int(self.counts.sum()), lengths)
        return {**record, "characters": self.characters}


def build_text(
    source: TextSource,
    folder: Path,
    settings: TextBuildSettings | None = None,
    force: bool = False,
    stage: Stage = silent_stage,
) -> Result:
    """Build a data set of words, or find it up to date; an interrupted build begins anew.

    Raises UsageError where the folder holds something else (unless `force`), DataError where there
    is nothing to train on, WriteError where nothing can be written.
    """
    settings = settings or TextBuildSettings()
    check_place(folder)
    key = key_of({"format": FORMAT, "source": source.fingerprint, "settings": settings.record()})
    finished = None if force else _finished(folder, key)
    if finished is not None:
        return Result(finished, True)
    try:
        with file_lock(folder / WORK_FOLDER / "lock", busy(folder)):
            work = folder / WORK_FOLDER / _KIND
            shutil.rmtree(work, ignore_errors=True)
            final = work / "final"
            final.mkdir(parents=True)
            _make(source, settings, key, work, final, stage)
            publish(final, folder)
            shutil.rmtree(folder / WORK_FOLDER, ignore_errors=True)
    except OSError as fault:
        raise WriteError(
            f"cannot write the data set {folder}: {os_error_reason(fault)}; "
            "make room or choose another place"
        ) from fault
    return Result(read_manifest(folder), False)


def _finished(folder: Path, key: str) -> dict[str, Any] | None:
    """Return the manifest of a data set that needs no work; raises UsageError if it is another."""
    if not (folder / MANIFEST_FILE).exists():
        return None
    manifest = read_manifest(folder)
    if manifest["key"] != key:
        raise UsageError(
            f"{folder} holds a data set of other songs or settings; give another folder with -o "
            "(--force would replace that data set)"
        )
    sizes = {name: record["bytes"] for name, record in manifest["files"].items()}
    return None if find_damaged(folder, sizes) else manifest


def _make(
    source: TextSource,
    settings: TextBuildSettings,
    key: str,
    work: Path,
    final: Path,
    stage: Stage,
) -> None:
    """Write all files of a data set into `final`."""

    def read(title: str) -> Iterator[Song]:
        with stage(f"{title} {source.name}", "KB") as progress:
            yield from source.read(lambda done: progress(done >> 10, source.size_bytes >> 10))

    found = _survey(read, settings, work)
    vocabulary = _vocabulary(found, settings, read)
    sides = _write(read, found, vocabulary, final)
    vocabulary.save(final / TOKENIZER_FOLDER)
    refused = Counter(reason for reason in found.reasons if reason)
    manifest: dict[str, Any] = {
        "kind": _KIND,
        "format": FORMAT,
        "key": key,
        "source": {
            name: getattr(source, name)
            for name in ("name", "title", "licence", "citation", "fingerprint")
        },
        "settings": settings.record(),
        "tokenizer": vars(vocabulary.settings),
        "vocabulary_hash": vocabulary.hash,
        "vocabulary_size": len(vocabulary),
        "inputs": {
            "total": len(found.reasons),
            "kept": len(found.reasons) - refused.total(),
            "refused": dict(sorted(refused.items())),
        },
        "splits": {name: side.record() for name, side in sides.items()},
        "unigram_nats_per_token": unigram_entropy(
            Joined({name: side.counts for name, side in sides.items()})
        ),
        "grid": None,
    }
    (final / CARD_FILE).write_text(text_card(manifest), encoding="utf-8")
    manifest["files"] = file_records(final)
    text = json.dumps(sealed(manifest), indent=2) + "\n"
    (final / MANIFEST_FILE).write_text(text, encoding="utf-8")


def _survey(read: Read, settings: TextBuildSettings, work: Path) -> Survey:
    """Read all songs once: what is a duplicate, where each goes, which characters there are.

    Raises DataError where nothing is left to train on.
    """
    found = Survey(split=settings.split)
    sketches = Sketches(work)
    usable: list[int] = []
    for songs in _batches(read("read")):
        good = [one for one in songs if not one.reason]
        for song in songs:
            if not song.reason:
                usable.append(len(found.reasons))
            found.reasons.append(song.reason)
            found.sides_words.append(_side_word(song))
        if good:
            sketches.add([one.text for one in good])
        for song in good:
            found.characters.update(song.text)
            found.characters.update(song.artist + song.title)
        found.has_artists |= any(one.artist for one in good)
        found.has_titles |= any(one.title for one in good)
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


def _side_word(song: Song) -> int:
    """Return what decides a song's side: its artist and title, without a title its words."""
    parts = [song.artist.casefold(), song.title.casefold()] if song.title else words_of(song.text)
    return first_word(hashlib.sha256("\n".join(parts).encode()).hexdigest())


def _deal_out(found: Survey) -> None:
    """Give each side its share where songs are few; raises DataError without any for training."""
    kept = [number for number, reason in enumerate(found.reasons) if not reason]
    if not kept:
        refused = ", ".join(f"{n} {reason}" for reason, n in Counter(found.reasons).items())
        raise DataError(f"nothing to train on: no song could be kept ({refused or 'none there'})")
    words = {found.sides_words[number] for number in kept}
    held = {found.side(number) for number in kept}
    wanted = {name for name, weight in zip(SPLITS, found.split, strict=True) if weight}
    if len(words) <= FEW_PIECES and wanted - held:
        found.split = weights_for_few(sorted(words), found.split)
    if SPLITS[0] not in {found.side(number) for number in kept}:
        raise DataError("nothing to train on: all songs are for validation and test; give more")


def _vocabulary(found: Survey, settings: TextBuildSettings, read: Read) -> TextVocabulary:
    wanted = TextSettings(
        has_artists=found.has_artists,
        has_titles=found.has_titles,
        longest_tokens=settings.longest_tokens,
    )
    if settings.like is not None:
        return of_folder(settings.like, wanted)
    if settings.vocabulary is None:
        return of_characters(found.characters, wanted)
    texts = (
        "\n".join((song.artist, song.title, song.text))
        for number, song in enumerate(read("learn tokens of"))
        if not found.reasons[number] and found.side(number) == SPLITS[0]
    )
    return of_byte_pairs(texts, settings.vocabulary, wanted)


def _write(read: Read, found: Survey, vocabulary: TextVocabulary, folder: Path) -> dict[str, _Side]:
    """Read all songs again and write their documents, and what became of each song."""
    longest = vocabulary.settings.longest_tokens
    originals = dict.fromkeys(found.original.values(), "")
    with ExitStack() as stack:
        sides = {
            name: _Side(
                stack.enter_context((folder / f"{name}.bin").open("wb")),
                stack.enter_context((folder / f"{name}{LENGTHS_SUFFIX}").open("wb")),
                np.zeros(len(vocabulary), np.int64),
                np.zeros(longest + 1, np.int64),
            )
            for name in SPLITS
        }
        outcomes = stack.enter_context((folder / OUTCOMES_FILE).open("wb"))
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
                    sides[outcome.split].add(made[number])
                outcomes.write(line(outcome))
    for name in SPLITS:
        write_index_of(folder / f"{name}{LENGTHS_SUFFIX}", token_dtype(len(vocabulary)))
    return sides


def _outcome(
    number: int, song: Song, found: Survey, made: list[TextDocument], originals: dict[int, str]
) -> Outcome:
    """Return what became of a song."""
    reason = found.reasons[number]
    if reason:
        first = found.original.get(number)
        detail = (
            f"the words of {originals[first]}" if first is not None else _DETAILS.get(reason, "")
        )
        return Outcome(song.name, REFUSED, reason, detail)
    return Outcome(
        song.name,
        KEPT,
        split=found.side(number),
        documents=len(made),
        tokens=sum(len(one.tokens) for one in made),
        fingerprint=f"{found.sides_words[number]:016x}",
    )
