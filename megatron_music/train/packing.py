"""Samples that hold whole documents: which documents make a row, and in which order rows are read.

Everything follows from the seed and a sample's number, so that a resumed run and a run in another
layout read the same samples. Megatron's own `GPTDataset` cuts documents anywhere instead.
`train.drawn_windows` does the same for data sets of whole pieces.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from megatron.core.datasets.indexed_dataset import IndexedDataset

from megatron_music.config import recipes_by_length
from megatron_music.errors import DataError
from megatron_music.score.hashing import WORD, Words, scramble
from megatron_music.tokenizer.load import AnyVocabulary
from megatron_music.tokenizer.places_in_piece import UNKNOWN, Places, load_places
from megatron_music.tokenizer.vocabulary import Vocabulary
from megatron_music.tokenizer.window_draw import Documents, documents_of
from megatron_music.tokenizer.windows import shortened
from megatron_music.train.packing_kernel import best_fit

IntArray = npt.NDArray[np.int64]


def words(seed: int, *more: int | Words) -> Words:
    """Return random words [n] that depend on the seed and these numbers only."""
    state = scramble(np.array([seed & WORD], np.uint64))
    for part in more:
        state = scramble(state ^ np.asarray(part, np.uint64))
    return state


def fraction(drawn: Words) -> npt.NDArray[np.float64]:
    """Return random words as numbers in [0, 1)."""
    # A float64 holds 53 bits exactly; more would round up to 1.0 now and then.
    return (drawn >> np.uint64(11)) / float(1 << 53)


class Split(Protocol):
    """One split of a data set folder as rows of documents.

    `kept_tokens` are those of an epoch, `attended_tokens` is the mean length of the document that a
    token is in, which attention spans.
    """

    kept_tokens: int

    def __len__(self) -> int:
        """Return the rows of an epoch."""

    @property
    def attended_tokens(self) -> float:
        """The mean length of the document that a token is in."""

    def remark(self) -> str:
        """Return a short remark on shortened and omitted music; "" if there is none."""

    def training_row(self, sample: int) -> "Row":
        """Return the row of a training sample."""

    def validation_row(self, sample: int) -> "Row":
        """Return the row of a validation sample; after the last one rows are empty."""

    def read(self, row: "Row") -> list[npt.NDArray[np.generic]]:
        """Return the tokens of each document of a row."""

    def places(self, row: "Row") -> Places:
        """Return where each document of a row is in its piece, as `document_rows` takes it."""


@dataclass(frozen=True)
class Row:
    """The documents of a sample; `epoch` counts the readings of its split, None to evaluate.

    `documents` are numbers within the split, or within its epoch where windows are drawn.
    `label_tokens` are the tokens that it teaches: all but the first of each document.
    """

    split: Split
    epoch: int | None
    documents: IntArray
    label_tokens: int


class Packing:
    """Documents packed by best fit into rows of `row_tokens` tokens.

    `sizes` are the tokens of all documents, `members` those to pack, none longer than a row.
    """

    def __init__(self, sizes: IntArray, members: IntArray, row_tokens: int, seed: int) -> None:
        # By decreasing length; documents of the same length in an order drawn by the seed.
        drawn = members[np.argsort(words(seed, members.astype(np.uint64)))]
        order = drawn[np.argsort(-sizes[drawn], kind="stable")]
        row_of = best_fit(sizes.astype(np.int32), order, row_tokens)[drawn]
        by_row = np.argsort(row_of, kind="stable")
        self._documents = drawn[by_row]
        self._starts = np.searchsorted(row_of[by_row], np.arange(row_of.max() + 2))
        labels = sizes[self._documents].astype(np.int64) - 1
        self.label_tokens = np.add.reduceat(labels, self._starts[:-1])
        # Weighted by tokens, not by documents: attention costs what each token can see.
        packed = sizes[self._documents].astype(np.float64)
        self.attended_tokens = float((packed**2).sum() / packed.sum())

    def __len__(self) -> int:
        return len(self._starts) - 1

    def row(self, split: Split, epoch: int | None, row: int) -> Row:
        """Return a row."""
        documents = self._documents[self._starts[row] : self._starts[row + 1]]
        return Row(split, epoch, documents, int(self.label_tokens[row]))


def all_places(prefix: Path, documents: int) -> Places:
    """Return where each document of a split is in its piece, UNKNOWN without a file of places."""
    places = load_places(prefix, documents)
    return np.full((documents, 2), UNKNOWN, np.int32) if places is None else places


def empty_row(split: Split) -> Row:
    """Return a row without documents, which fills up the last batch of an evaluation."""
    return Row(split, None, np.zeros(0, np.int64), 0)


def open_documents(prefix: Path) -> Documents:
    """Return the documents of a `.bin/.idx` pair, by Megatron's own reader; raises DataError."""
    try:
        index = IndexedDataset(str(prefix), mmap=True).index
        # Copied: Megatron unmaps the file when its index goes.
        lengths = np.array(index.sequence_lengths, np.int32)
        starts = np.array(index.sequence_pointers, np.int64) // index.dtype_size
        # The kernels take the tokens of all documents as one array.
        tokens = np.memmap(f"{prefix}.bin", index.dtype, "r")
    except (AssertionError, ValueError, IndexError, EOFError, OSError) as fault:
        reason = " ".join(str(fault).split()) or type(fault).__name__
        raise DataError(
            f"Megatron cannot read {prefix}.bin/.idx ({reason}); build the data set again"
        ) from fault
    if len(lengths) and starts[-1] + lengths[-1] != len(tokens):
        raise DataError(
            f"{prefix}.bin holds {len(tokens)} tokens, its index says "
            f"{starts[-1] + lengths[-1]}; build the data set again"
        )
    return Documents(tokens, starts, lengths)


class PackedSplit:
    """One split of a data set of windows, its documents packed into rows of `row_tokens` tokens.

    Documents longer than a row are shortened to whole bars: see `shortened_documents`, and
    `left_out_documents` where not even a bar fits; of words all that are longer. Raises DataError
    where Megatron cannot read the files, or nothing fits.
    """

    def __init__(self, prefix: Path, row_tokens: int, seed: int, vocabulary: AnyVocabulary) -> None:
        self.prefix = prefix
        self._seed = seed
        self._held = open_documents(prefix)
        lengths = self._held.lengths
        sizes = lengths.astype(np.int64)
        # Documents of words stay at 0: they have no bars to shorten to.
        self._longer = np.flatnonzero(lengths > row_tokens)
        sizes[self._longer] = 0
        if len(self._longer) and isinstance(vocabulary, Vocabulary):
            documents = documents_of(*self._held)
            self._short = shortened(documents, self._longer, row_tokens, vocabulary)
            sizes[self._longer] = self._short.sizes
        fits = np.flatnonzero(sizes)
        self.documents = len(lengths)
        self.longest_tokens = int(lengths.max(initial=0))
        self.left_out_documents = len(lengths) - len(fits)
        self.shortened_documents = len(self._longer) - self.left_out_documents
        self.kept_tokens = int(sizes.sum())
        self.left_out_tokens = int(lengths.sum(dtype=np.int64)) - self.kept_tokens
        if not len(fits):
            raise DataError(
                f"of none of the {len(lengths)} documents of {prefix}.bin one bar fits into "
                f"model.seq_length={row_tokens} (the shortest has "
                f"{min(lengths, default=0)} tokens); raise model.seq_length"
            )
        self._packing = Packing(sizes, fits, row_tokens, seed)
        self._places = all_places(prefix, self.documents)

    def __len__(self) -> int:
        return len(self._packing)

    @property
    def attended_tokens(self) -> float:
        """The mean length of the document that a token is in."""
        return self._packing.attended_tokens

    def remark(self) -> str:
        """Return a remark on the documents that are longer than a row; "" without any."""
        count = len(self._longer)
        if not count:
            return ""
        share = self.left_out_tokens / (self.left_out_tokens + self.kept_tokens)
        lost = f", {self.left_out_documents:,} left out" if self.left_out_documents else ""
        return (
            f"{count:,} of {self.documents:,} documents ({count / self.documents:.1%}) are longer: "
            f"{self.shortened_documents:,} shortened to whole bars{lost} ({share:.1%} of the "
            f"tokens): model.seq_length={self.longest_tokens} holds all"
            + recipes_that_hold(self.longest_tokens)
            + ", or build the data set with fewer --bars (of words: a smaller --longest)"
        )

    def places(self, row: Row) -> Places:
        """Return where each document of a row is in its piece."""
        return self._places[row.documents]

    def read(self, row: Row) -> list[npt.NDArray[np.generic]]:
        """Return the tokens of each document of a row."""
        found: list[npt.NDArray[np.generic]] = []
        for document in row.documents.tolist():
            at = int(np.searchsorted(self._longer, document))
            if at < len(self._longer) and self._longer[at] == document:
                found.append(self._short.read(at))
            else:
                start = int(self._held.starts[document])
                end = start + int(self._held.lengths[document])
                found.append(self._held.tokens[start:end])
        return found

    def training_row(self, sample: int) -> Row:
        """Return the row of a training sample; each epoch reads all rows, in another order."""
        epoch, place = divmod(sample, len(self))
        return self._packing.row(self, epoch, int(self._order(epoch)[place]))

    def validation_row(self, sample: int) -> Row:
        """Return the row of a validation sample; after the last one rows are empty."""
        if sample >= len(self):
            return empty_row(self)
        return self._packing.row(self, None, sample)

    @lru_cache(maxsize=2)  # noqa: B019 - a split lives as long as its run
    def _order(self, epoch: int) -> IntArray:
        return row_order(self._seed, epoch, len(self))


def row_order(seed: int, epoch: int, rows: int) -> IntArray:
    """Return the order in which an epoch reads its rows."""
    return np.argsort(words(seed, epoch, np.arange(rows, dtype=np.uint64)))


def recipes_that_hold(tokens: int) -> str:
    """Name the recipes of the shortest sequence that holds `tokens` tokens; "" without one."""
    holding = [of for size, of in recipes_by_length().items() if size >= tokens]
    return f" (as recipe {' or '.join(holding[0])} does)" if holding else ""
