"""Check the files of a data set against its manifest."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from megatron_music.data.indexed import IndexedReader
from megatron_music.data.manifest import MANIFEST_FILE, TOKENIZER_FOLDER, is_intact, read_manifest
from megatron_music.data.settings import SPLITS
from megatron_music.errors import DataError, TokenError
from megatron_music.files import sha256_of
from megatron_music.progress import Progress, silent
from megatron_music.tokenizer.grammar import check
from megatron_music.tokenizer.load import AnyVocabulary, load_any_vocabulary
from megatron_music.tokenizer.places_in_piece import UNKNOWN, load_places
from megatron_music.tokenizer.text_vocabulary import TextVocabulary

PORTION_TOKENS = 4_000_000


@dataclass(frozen=True)
class Verified:
    """What was checked: files, documents and tokens."""

    files: int
    documents: int
    tokens: int


def verify(folder: Path, progress: Progress = silent) -> Verified:
    """Check the manifest, hashes, vocabulary, indexes and the grammar of every document.

    Raises DataError, which tells of the first fault.
    """
    manifest = read_manifest(folder)
    if not is_intact(manifest):
        raise DataError(
            f"{folder / MANIFEST_FILE} is not what was built: something in it was changed; "
            f"build the data set again: data build SOURCE -o {folder} --force"
        )
    # Bytes first: a damaged file would be reported as a fault of its contents.
    for name, record in manifest["files"].items():
        _check_file(folder / name, record)
    vocabulary = load_any_vocabulary(folder / TOKENIZER_FOLDER)
    if vocabulary.hash != manifest["vocabulary_hash"]:
        raise DataError(f"{folder} was built with another vocabulary than its tokenizer has")
    readers = {name: IndexedReader(folder / name) for name in SPLITS}
    total = sum(len(reader) for reader in readers.values())
    done = 0
    for name, reader in readers.items():
        split = manifest["splits"][name]
        counted = {"documents": len(reader), "tokens": len(reader.tokens)}
        for what, count in counted.items():
            if count != split[what]:
                raise DataError(f"{name} has {count} {what}, the manifest says {split[what]}")
        if reader.lengths.min(initial=0) < 0:
            raise DataError(f"{name}.idx has a document of negative length; build it again")
        _check_places(folder / name, reader)
        for documents, tokens in _portions(reader):
            _check_documents(name, documents, tokens, reader, vocabulary)
            done += len(documents)
            progress(done, total)
    all_tokens = sum(len(reader.tokens) for reader in readers.values())
    return Verified(len(manifest["files"]), total, all_tokens)


def _check_file(path: Path, record: dict[str, Any]) -> None:
    if not path.is_file():
        raise DataError(f"{path} is missing; build the data set again")
    if path.stat().st_size != record["bytes"] or sha256_of(path) != record["sha256"]:
        raise DataError(
            f"{path} is not what was built: its sha256 differs; build the data set again: "
            f"data build SOURCE -o {path.parent} --force"
        )


def _check_places(prefix: Path, reader: IndexedReader) -> None:
    """Check that every document begins inside its piece; data sets from before have no places."""
    places = load_places(prefix, len(reader))
    if places is None:
        return
    first, bars = places[:, 0], places[:, 1]
    known = (first != UNKNOWN) | (bars != UNKNOWN)
    wrong = np.flatnonzero(known & ((first < 0) | (first >= bars)))
    if len(wrong):
        document = int(wrong[0])
        raise DataError(
            f"{prefix.name}, document {document} begins with bar {first[document]} of a piece of "
            f"{bars[document]} bars; build it again"
        )


def _portions(reader: IndexedReader) -> Iterator[tuple[range, npt.NDArray[np.generic]]]:
    """Give runs of documents with their tokens, about PORTION_TOKENS at a time."""
    ends = np.cumsum(reader.lengths, dtype=np.int64)
    first = done = 0
    while first < len(reader):
        last = int(np.searchsorted(ends, done + PORTION_TOKENS, side="right"))
        # A document of more tokens than a portion is read alone.
        last = max(last, first + 1)
        end = int(ends[last - 1])
        yield range(first, last), reader.tokens[done:end]
        first, done = last, end


def _check_documents(
    name: str,
    documents: range,
    tokens: npt.NDArray[np.generic],
    reader: IndexedReader,
    vocabulary: AnyVocabulary,
) -> None:
    """Check a run of documents by the compiled grammar; the readable one explains a fault."""
    if isinstance(vocabulary, TextVocabulary):
        _check_words(name, documents, tokens, reader, vocabulary)
        return
    from megatron_music.tokenizer.grammar_walk_kernel import suspect_documents

    lengths = reader.lengths[documents.start : documents.stop]
    # The kernel says which documents are wrong, the readable grammar says how.
    for suspect in suspect_documents(tokens, lengths, vocabulary):
        document = documents[suspect]
        try:
            check(reader[document].astype(np.int64), vocabulary)
        except TokenError as fault:
            raise DataError(f"{name}, document {document}, {fault}; build it again") from None


def _check_words(
    name: str,
    documents: range,
    tokens: npt.NDArray[np.generic],
    reader: IndexedReader,
    vocabulary: TextVocabulary,
) -> None:
    """Check that documents of words begin with the mark of a song and end as one does."""
    ends = np.cumsum(reader.lengths[documents.start : documents.stop], dtype=np.int64)
    starts = np.concatenate(([0], ends[:-1]))
    if not len(ends):
        return
    legal = (
        (ends > starts)
        & (np.maximum.reduceat(tokens, starts) < len(vocabulary))
        & (tokens[starts] == vocabulary.piece_start)
        & np.isin(tokens[ends - 1], (vocabulary.piece_end, vocabulary.cut))
    )
    if not legal.all():
        document = documents[int(np.argmin(legal))]
        raise DataError(f"{name}, document {document} is not a song's words; build it again")
