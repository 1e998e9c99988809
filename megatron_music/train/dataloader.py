"""Microbatches of whole documents: global batch i is a pure function of (seed, i).

Microbatch m of data parallel rank r takes fixed samples of the global batch, so that a resumed run
and a run in another layout see the same global batches. Nothing is written in the data folder.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from megatron.core.datasets import helpers

from megatron_music.errors import DataError
from megatron_music.tokenizer.attributes import attribute_families, unknown_tokens
from megatron_music.tokenizer.places_in_piece import Places
from megatron_music.tokenizer.structure import position_rows
from megatron_music.tokenizer.structure_tracker import document_rows
from megatron_music.tokenizer.text_vocabulary import TextVocabulary
from megatron_music.train.distributed import ParallelContext
from megatron_music.train.drawn_windows import open_split
from megatron_music.train.layers import DocumentSpans, document_spans
from megatron_music.train.packing import IntArray, Row, Split, fraction, words
from megatron_music.train.request import TrainingRequest

READ_AHEAD = 4
"""Microbatches that a thread prepares while a GPU computes."""
UNKNOWN_PLACE_SHARE = 0.25
"""The share of documents without their place in the piece, so that songs may begin without one."""

_PLAIN, _PLACE, _LABELS = 1, 2, 3
"""What is drawn for a document: whether it goes without inputs, knows its place, has its labels.

Of labels `_LABELS` is all of them, `_LABELS + n` that of the n-th family.
"""

_Record = TypeVar("_Record", "Microbatch", "DocumentSpans")


@dataclass(frozen=True)
class Microbatch:
    """Documents one after another, then padding: t = micro batch x seq_length tokens, [1, t] each.

    `labels` are the next tokens; `loss_mask` is 0 where a document ends and in the padding. Token
    i adds up the rows `rows[row_starts[i] : row_starts[i + 1]]` of the position table.
    `mean_label_tokens` are the labels that a microbatch of this global batch has on average.
    """

    tokens: torch.Tensor
    labels: torch.Tensor
    loss_mask: torch.Tensor
    rows: torch.Tensor
    row_starts: torch.Tensor
    spans: DocumentSpans
    mean_label_tokens: float

    @property
    def position_ids(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What Megatron hands to the model's position table."""
        return self.rows, self.row_starts


@dataclass(frozen=True)
class Samples:
    """Sample i of a blend: row `numbers[i]` in the reading order of split `folders[i]`."""

    splits: tuple[Split, ...]
    folders: npt.NDArray[np.int16]
    numbers: IntArray

    def __len__(self) -> int:
        return len(self.folders)

    def __getitem__(self, sample: int) -> tuple[Split, int]:
        return self.splits[int(self.folders[sample])], int(self.numbers[sample])

    @classmethod
    def blended(cls, splits: Sequence[Split], shares: Sequence[float], count: int) -> "Samples":
        """Return `count` samples in which every prefix holds the shares, as Megatron blends."""
        folders, numbers = np.zeros(count, np.int16), np.arange(count, dtype=np.int64)
        if len(splits) > 1:
            weights = np.array(shares, np.float64)
            helpers.build_blending_indices(folders, numbers, weights, len(splits), count, False)
        return cls(tuple(splits), folders, numbers)


class DataLoader:
    """The microbatches of one data parallel rank."""

    def __init__(
        self, request: TrainingRequest, context: ParallelContext, read_ahead: int | None = None
    ) -> None:
        """Open the splits and draw the order; raises DataError where they cannot be read.

        On a GPU a thread prepares `read_ahead` microbatches ahead. On a CPU, whose cores compute,
        the default is none.
        """
        train, shape, blend = request.recipe.train, request.recipe.model, request.blend
        self.micro_batch_size = train.micro_batch_size
        self.global_batch_size = train.global_batch_size
        self.seq_length = shape.seq_length
        self.context = context
        self._train, self._vocabulary = train, request.vocabulary
        self._rows = position_rows(shape.structural_inputs, shape.seq_length, request.vocabulary)
        self._has_inputs = bool(shape.structural_inputs)
        self._plain_share = train.plain_share
        self._seed = train.seed
        self._unlabelled_share = train.unlabelled_share
        # Each token's unknown label and its family; words have neither.
        size = len(request.vocabulary)
        self._unknown, self._families = np.arange(size), np.zeros(size, np.int64)
        if not isinstance(request.vocabulary, TextVocabulary):
            self._unknown = unknown_tokens(request.vocabulary)
            self._families = attribute_families(request.vocabulary)
        self._ahead = read_ahead if read_ahead is not None else READ_AHEAD * context.is_cuda
        self._pool = ThreadPoolExecutor(1) if self._ahead else None
        self._pending: dict[int, Future[Microbatch]] = {}
        splits = [self._open(folder, "train") for folder in blend.folders]
        self._shares = blend.shares
        self.train = Samples.blended(
            splits, blend.shares, train.train_iters * train.global_batch_size
        )
        self.valid: Samples | None = None
        self.eval_iters = 0
        if request.evaluates:
            splits = [self._open(folder, "valid") for folder in blend.folders]
            # No row is evaluated twice: those that are missing in the last batch are empty.
            held = min(len(of) / share for of, share in zip(splits, blend.shares, strict=True))
            batches = max(1, -int(-held // train.global_batch_size))
            self.eval_iters = min(request.recipe.log.eval_iters, batches)
            self.valid = Samples.blended(
                splits, blend.shares, self.eval_iters * train.global_batch_size
            )

    def _open(self, folder: Path, split: str) -> Split:
        return open_split(folder, split, self.seq_length, self._train, self._vocabulary)

    @property
    def attended_tokens(self) -> float:
        """The mean length of the document that a token of the training samples is in."""
        of_splits = zip(self.train.splits, self._shares, strict=True)
        return sum(split.attended_tokens * share for split, share in of_splits)

    def describe(self) -> str:
        """Say in one line what the training samples hold and what they leave out."""
        splits = self.train.splits
        rows, tokens = sum(map(len, splits)), sum(split.kept_tokens for split in splits)
        held = (
            f"samples: {rows:,} of {self.seq_length:,} tokens, whole documents, "
            f"{tokens / rows / self.seq_length:.1%} full"
        )
        return "; ".join([held, *filter(None, (split.remark() for split in splits))])

    @property
    def microbatches(self) -> int:
        """How many microbatches of each rank make a global batch."""
        return self.global_batch_size // (self.micro_batch_size * self.context.data_parallel_size)

    def training(self, iteration: int) -> Iterator[Microbatch]:
        """Yield this rank's microbatches of an iteration, counted from 1."""
        first = (iteration - 1) * self.microbatches
        # Nothing is read ahead beyond the run: there are no samples there.
        last = len(self.train) // self.global_batch_size * self.microbatches
        for number in range(first, first + self.microbatches):
            if self._pool is None:
                yield self._to_device(self._assemble(number, self.training_row))
                continue
            for later in range(number, min(number + 1 + self._ahead, last)):
                if later not in self._pending:
                    self._pending[later] = self._pool.submit(self._prepare, later)
            yield self._to_device(self._pending.pop(number).result())

    def validation(self) -> Iterator[Iterator[Microbatch]]:
        """Yield the same global batches at every evaluation."""
        for batch in range(self.eval_iters):
            yield (
                self._to_device(self._assemble(number, self.validation_row))
                for number in range(batch * self.microbatches, (batch + 1) * self.microbatches)
            )

    def _prepare(self, number: int) -> Microbatch:
        microbatch = self._assemble(number, self.training_row)
        return mapped(microbatch, torch.Tensor.pin_memory) if self.context.is_cuda else microbatch

    def _to_device(self, microbatch: Microbatch) -> Microbatch:
        if not self.context.is_cuda:
            return microbatch
        device = self.context.device
        # From pinned memory the copy overlaps what the GPU still computes.
        return mapped(microbatch, lambda tensor: tensor.to(device, non_blocking=True))

    def _assemble(self, number: int, row_of: Callable[[int], Row]) -> Microbatch:
        """Return this rank's microbatch: ranks take turns within a global batch."""
        batch, micro = divmod(number, self.microbatches)
        turn = micro * self.context.data_parallel_size + self.context.data_parallel_rank
        begin = batch * self.global_batch_size + turn * self.micro_batch_size
        rows = [row_of(sample) for sample in range(begin, begin + self.micro_batch_size)]
        return self.assemble(rows, self._mean_label_tokens(batch, row_of))

    @lru_cache(maxsize=4)  # noqa: B019 - a loader lives as long as its run
    def _mean_label_tokens(self, batch: int, row_of: Callable[[int], Row]) -> float:
        """Return the labels of a microbatch on average: counted once for a global batch."""
        size = self.global_batch_size
        labels = sum(
            row_of(sample).label_tokens for sample in range(batch * size, (batch + 1) * size)
        )
        # A global batch after the last validation row is empty; it must not divide by 0.
        return max(labels * self.micro_batch_size / size, 1.0)

    def training_row(self, sample: int) -> Row:
        """Return which documents training sample `sample` of the whole run holds."""
        split, number = self.train[sample]
        return split.training_row(number)

    def validation_row(self, sample: int) -> Row:
        """Return which documents a validation sample holds."""
        split, number = (self.valid or self.train)[sample]
        return split.validation_row(number)

    def assemble(self, rows: Sequence[Row], mean_label_tokens: float = 1.0) -> Microbatch:
        """Return the documents of these samples as a microbatch, on the CPU.

        Raises DataError for a token that is not in the vocabulary.
        """
        documents = [document for row in rows for document in row.split.read(row)]
        lengths = np.array([len(document) for document in documents], np.int64)
        starts = np.concatenate(([0], np.cumsum(lengths)))
        total, real = len(rows) * self.seq_length, int(starts[-1])
        tokens = np.full(total, self._vocabulary.pad, np.int64)
        if documents:
            np.concatenate(documents, out=tokens[:real], casting="unsafe")
        # An id out of range would read past the embedding: on a GPU that is a device-side assert,
        # which says nothing of the data and ends the process.
        largest = int(tokens.max())
        if largest >= len(self._vocabulary):
            raise DataError(
                f"the data holds token {largest}, the vocabulary ends at "
                f"{len(self._vocabulary) - 1}; build the data set again"
            )
        self._drop_labels(rows, tokens[:real], starts)
        labels = np.append(tokens[1:], self._vocabulary.pad)
        mask = np.zeros(total, np.float32)
        mask[:real] = 1
        mask[starts[1:] - 1] = 0  # the token after a document cannot be predicted from it
        position_table_rows, row_starts = self._position_rows(rows, tokens[:real], starts, total)
        return Microbatch(
            tokens=torch.from_numpy(tokens)[None],
            labels=torch.from_numpy(labels)[None],
            loss_mask=torch.from_numpy(mask)[None],
            rows=torch.from_numpy(position_table_rows),
            row_starts=torch.from_numpy(row_starts),
            spans=document_spans(lengths, total, self.seq_length),
            mean_label_tokens=mean_label_tokens,
        )

    def _drop_labels(self, rows: Sequence[Row], tokens: IntArray, starts: IntArray) -> None:
        """Replace some labels by unknown ones: drawn by epoch and document, none to evaluate."""
        places = np.flatnonzero(self._families[tokens]) if self._families.any() else ()
        if not len(places):
            return
        ids = np.concatenate([row.documents for row in rows]).astype(np.uint64)
        epochs = [-1 if row.epoch is None else row.epoch for row in rows for _ in row.documents]
        owners = np.searchsorted(starts, places, side="right") - 1
        epoch, document = np.array(epochs, np.int64)[owners], ids[owners]
        families = self._families[tokens[places]]
        drawn = [
            fraction(words(self._seed, epoch.astype(np.uint64), kind.astype(np.uint64), document))
            for kind in (_LABELS + 0 * families, _LABELS + families)
        ]
        dropped = (np.minimum(*drawn) < self._unlabelled_share) & (epoch >= 0)
        tokens[places[dropped]] = self._unknown[tokens[places[dropped]]]

    def _position_rows(
        self, rows: Sequence[Row], tokens: IntArray, starts: IntArray, total: int
    ) -> tuple[IntArray, IntArray]:
        """Return the rows of the position table of all tokens, and where those of each begin."""
        if not len(tokens) or isinstance(self._vocabulary, TextVocabulary):
            indices = np.zeros(total, np.int64)  # padding takes the first row
            lengths = np.diff(starts)
            indices[: len(tokens)] = np.arange(len(tokens)) - np.repeat(starts[:-1], lengths)
            return indices, np.arange(total, dtype=np.int64)
        is_plain, places = map(np.concatenate, zip(*map(self._drawn, rows), strict=True))
        listed = document_rows(tokens, starts, places, is_plain, self._rows, self._vocabulary)
        is_row = listed != self._rows.total
        counts = np.ones(total, np.int64)  # padding takes the first row
        counts[: len(tokens)] = is_row.sum(axis=1)
        flat = np.zeros(int(counts.sum()), np.int64)
        of_tokens = listed[is_row]
        flat[: len(of_tokens)] = of_tokens
        return flat, np.concatenate(([0], np.cumsum(counts[:-1])))

    def _drawn(self, row: Row) -> tuple[npt.NDArray[np.bool_], Places]:
        """Draw which documents of a row go without inputs, and which without their places."""
        count, places = len(row.documents), row.split.places(row)
        if not self._has_inputs:
            return np.ones(count, np.bool_), places
        if row.epoch is None:
            return np.zeros(count, np.bool_), places
        ids = row.documents.astype(np.uint64)
        fractions = [fraction(words(self._seed, row.epoch, what, ids)) for what in (_PLAIN, _PLACE)]
        hidden = fractions[1] < UNKNOWN_PLACE_SHARE
        return fractions[0] < self._plain_share, np.where(hidden[:, None], -1, places)


def mapped(record: _Record, change: Callable[[torch.Tensor], torch.Tensor]) -> _Record:
    """Return a record with all its tensors changed, those of its spans included."""
    changed: dict[str, Any] = {}
    for one in fields(record):
        value = getattr(record, one.name)
        if isinstance(value, torch.Tensor):
            changed[one.name] = change(value)
        elif isinstance(value, DocumentSpans):
            changed[one.name] = mapped(value, change)
    return replace(record, **changed)
