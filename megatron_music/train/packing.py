"""Samples that hold whole documents: which documents make a row, and in which order rows are read.

Everything follows from the seed and a sample's number, so that a resumed run and a run in another
layout read the same samples. Megatron's own `GPTDataset` cuts documents anywhere instead.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from megatron.core.datasets.indexed_dataset import IndexedDataset

from megatron_music.errors import DataError
from megatron_music.score.hashing import WORD, Words, scramble
from megatron_music.tokenizer.places import UNKNOWN, load_places
from megatron_music.train.packing_kernel import best_fit

IntArray = npt.NDArray[np.int64]


def words(seed: int, *more: int | Words) -> Words:
    """Return random words [n] that follow from the seed and the numbers alone."""
    state = scramble(np.array([seed & WORD], np.uint64))
    for part in more:
        state = scramble(state ^ np.asarray(part, np.uint64))
    return state


def fraction(drawn: Words) -> npt.NDArray[np.float64]:
    """Return random words as numbers in [0, 1)."""
    return (drawn >> np.uint64(11)) / float(1 << 53)


@dataclass(frozen=True)
class Row:
    """The documents of a sample; `epoch` counts the readings of its split, None to evaluate.

    `label_tokens` are the tokens that it teaches: all but the first of each document.
    """

    split: "PackedSplit"
    epoch: int | None
    documents: IntArray
    label_tokens: int


class PackedSplit:
    """One split of a data set folder, its documents packed into rows of `row_tokens` tokens.

    Documents longer than a row are left out: see `left_out_documents` and `left_out_tokens`.
    Raises DataError where Megatron cannot read the files.
    """

    def __init__(self, prefix: Path, row_tokens: int, seed: int) -> None:
        self.prefix = prefix
        self._seed = seed
        try:
            index = IndexedDataset(str(prefix), mmap=True).index
            # Copied: Megatron unmaps the file when its index goes.
            self._lengths = np.array(index.sequence_lengths, np.int32)
            self._starts = np.array(index.sequence_pointers, np.int64) // index.dtype_size
            self._tokens = np.memmap(f"{prefix}.bin", index.dtype, "r")
        except (AssertionError, ValueError, IndexError, EOFError, OSError) as fault:
            reason = " ".join(str(fault).split()) or type(fault).__name__
            raise DataError(
                f"Megatron cannot read {prefix}.bin/.idx ({reason}); build the data set again"
            ) from fault
        if len(self._lengths) and self._starts[-1] + self._lengths[-1] != len(self._tokens):
            raise DataError(
                f"{prefix}.bin holds {len(self._tokens)} tokens, its index says "
                f"{self._starts[-1] + self._lengths[-1]}; build the data set again"
            )
        fits = self._lengths <= row_tokens
        self.left_out_documents = int((~fits).sum())
        self.left_out_tokens = int(self._lengths[~fits].sum())
        self.kept_tokens = int(self._lengths[fits].sum())
        self.documents = len(fits)
        self.longest_tokens = int(self._lengths.max(initial=0))
        if not fits.any():
            raise DataError(
                f"all {len(fits)} documents of {prefix}.bin are longer than "
                f"model.seq_length={row_tokens} (the shortest has "
                f"{min(self._lengths, default=0)} tokens); raise model.seq_length, or build the "
                "data set with fewer --bars"
            )
        self._pack(np.flatnonzero(fits), row_tokens)

    def _pack(self, documents: IntArray, row_tokens: int) -> None:
        """Pack by decreasing length; documents of the same length in an order drawn by the seed."""
        drawn = documents[np.argsort(words(self._seed, documents.astype(np.uint64)))]
        order = drawn[np.argsort(-self._lengths[drawn], kind="stable")]
        row_of = best_fit(self._lengths, order, row_tokens)[drawn]
        by_row = np.argsort(row_of, kind="stable")
        self._documents = drawn[by_row]
        self._row_starts = np.searchsorted(row_of[by_row], np.arange(row_of.max() + 2))
        labels = self._lengths[self._documents].astype(np.int64) - 1
        self._label_tokens = np.add.reduceat(labels, self._row_starts[:-1])

    def __len__(self) -> int:
        return len(self._row_starts) - 1

    @cached_property
    def attended_tokens(self) -> float:
        """The mean length of the document that a token stands in: what attention spans."""
        lengths = self._lengths[self._documents].astype(np.float64)
        return float((lengths**2).sum() / lengths.sum())

    @cached_property
    def places(self) -> npt.NDArray[np.int32]:
        """Where each document stands in its piece, as `document_rows` takes it."""
        places = load_places(self.prefix, len(self._lengths))
        return np.full((len(self._lengths), 2), UNKNOWN, np.int32) if places is None else places

    def read(self, document: int) -> npt.NDArray[np.generic]:
        """Return the tokens of a document."""
        start = int(self._starts[document])
        return self._tokens[start : start + int(self._lengths[document])]

    def training_row(self, sample: int) -> Row:
        """Return the row of a training sample: each epoch reads all rows in an order of its own."""
        epoch, place = divmod(sample, len(self))
        return self._row(epoch, int(self._order(epoch)[place]))

    def validation_row(self, sample: int) -> Row:
        """Return the row of a validation sample; behind the last one rows are empty."""
        if sample >= len(self):
            return Row(self, None, np.zeros(0, np.int64), 0)
        return self._row(None, sample)

    def _row(self, epoch: int | None, row: int) -> Row:
        documents = self._documents[self._row_starts[row] : self._row_starts[row + 1]]
        return Row(self, epoch, documents, int(self._label_tokens[row]))

    @lru_cache(maxsize=2)  # noqa: B019 - a split lives as long as its run
    def _order(self, epoch: int) -> IntArray:
        return np.argsort(words(self._seed, epoch, np.arange(len(self), dtype=np.uint64)))
