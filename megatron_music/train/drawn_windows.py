"""Samples of whole pieces: windows drawn anew in each epoch, packed into rows.

Which windows an epoch has, and what is drawn for them, follows from (seed, epoch) and a window's
place in the data set alone. An epoch of another number of rows than the first one has leaves out
those that teach least, or begins again: so that a sample's number alone tells its epoch. It is
planned while the one before it is read.
"""

from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Thread

import numpy as np
import numpy.typing as npt

from megatron_music.config import TrainConfig
from megatron_music.errors import DataError
from megatron_music.tokenizer.load import AnyVocabulary
from megatron_music.tokenizer.places_in_piece import UNKNOWN, Places
from megatron_music.tokenizer.vocabulary import Vocabulary
from megatron_music.tokenizer.window_draw import documents_of, fixed_draw, new_draw
from megatron_music.tokenizer.windows import Windows, plan
from megatron_music.train.datasets import WindowSettings, read_window_settings
from megatron_music.train.packing import (
    IntArray,
    PackedSplit,
    Packing,
    Row,
    Split,
    all_places,
    empty_row,
    open_documents,
    row_order,
    words,
)

_WINDOWS = 0x3171
"""Makes the random words of windows different from those of labels and inputs."""
HIDDEN_SHARE = 0.5
"""The share of windows with hidden bars, the same as in data sets by `data build --fill`."""


def open_split(
    folder: Path, split: str, row_tokens: int, train: TrainConfig, vocabulary: AnyVocabulary
) -> Split:
    """Return one split of a data set, packed into rows; raises DataError."""
    drawing = read_window_settings(folder)
    if drawing is None or not isinstance(vocabulary, Vocabulary):
        return PackedSplit(folder / split, row_tokens, train.seed, vocabulary)
    is_fixed = split != "train"
    return WindowSplit(folder / split, row_tokens, train, vocabulary, drawing, is_fixed=is_fixed)


@dataclass(frozen=True)
class _Epoch:
    """The windows of an epoch and their rows."""

    windows: Windows
    packing: Packing


class WindowSplit:
    """One split of a data set of pieces; windows have `vocabulary.settings.bars` bars at most.

    A split that `is_fixed` is as long as its windows for validation have rows. Raises DataError
    where Megatron cannot read the files, a document is not a piece or nothing fits.
    """

    def __init__(
        self,
        prefix: Path,
        row_tokens: int,
        train: TrainConfig,
        vocabulary: Vocabulary,
        drawing: WindowSettings,
        *,
        is_fixed: bool = False,
    ) -> None:
        self.prefix = prefix
        self._row_tokens, self._train, self._seed = row_tokens, train, train.seed
        self._vocabulary, self._drawing = vocabulary, drawing
        self._documents = documents_of(*open_documents(prefix))
        first = self._epoch(None if is_fixed else 0)
        self.kept_tokens = int(first.windows.sizes.sum())
        self.attended_tokens = first.packing.attended_tokens
        self._left_out_bars = first.windows.left_out_bars
        self._rows = len(first.packing)
        self._places = all_places(prefix, len(self._documents.lengths))

    def _epoch(self, epoch: int | None) -> _Epoch:
        """Return the windows of an epoch, for None those of evaluation."""
        return self._planned(epoch).result()

    @lru_cache(maxsize=3)  # noqa: B019 - a split lives as long as its run
    def _planned(self, epoch: int | None) -> "Future[_Epoch]":
        """Start to plan an epoch in a thread; keep the result for the next calls."""
        planned: Future[_Epoch] = Future()

        def fulfil() -> None:
            try:
                planned.set_result(self._plan(epoch))
            except BaseException as fault:  # it is raised where the epoch is asked for
                planned.set_exception(fault)

        # A daemon: at the end of a run nothing waits for an epoch that is not read any more.
        Thread(target=fulfil, name=f"epoch {epoch}", daemon=True).start()
        return planned

    def _plan(self, epoch: int | None) -> _Epoch:
        drawing, train = self._drawing, self._train
        # Validation has fixed windows, so that its losses can be compared.
        if epoch is None:
            draw = fixed_draw(
                fill=drawing.fill, shuffle=drawing.shuffle, max_tracks=drawing.max_tracks
            )
        else:
            draw = new_draw(
                int(words(self._seed, epoch, _WINDOWS)[0]),
                drawing.shifts,
                shuffle=drawing.shuffle,
                max_tracks=drawing.max_tracks,
                hidden=HIDDEN_SHARE * drawing.fill,
                dropped=train.dropped_track_share,
                tempo_levels=train.tempo_shift_levels,
                velocity_levels=train.velocity_shift_levels,
            )
        bars = self._vocabulary.settings.bars
        windows = plan(
            self._documents,
            draw,
            bars,
            self._row_tokens,
            self._vocabulary,
            moves=epoch is not None,
        )
        if not len(windows):
            raise DataError(
                f"of no piece of {self.prefix}.bin one bar fits into model.seq_length="
                f"{self._row_tokens}; raise model.seq_length"
            )
        packing = Packing(windows.sizes, np.arange(len(windows)), self._row_tokens, self._seed)
        return _Epoch(windows, packing)

    @lru_cache(maxsize=2)  # noqa: B019
    def _order(self, epoch: int) -> IntArray:
        """Return the rows of an epoch in their order, as many as the first epoch has."""
        # Windows drawn anew pack into a few rows more or fewer. Every epoch has as many rows as the
        # first, so that sample i is in epoch i // rows for any draw; the fullest are kept.
        packing = self._epoch(epoch).packing
        order = row_order(self._seed, epoch, len(packing))
        if len(order) > self._rows:
            fullest = np.argsort(-packing.label_tokens, kind="stable")[: self._rows]
            order = order[np.isin(order, fullest)]
        return np.resize(order, self._rows)

    def __len__(self) -> int:
        return self._rows

    def remark(self) -> str:
        """Return a remark on the drawn windows, and on bars that fit into none."""
        text = (
            f"windows of up to {self._vocabulary.settings.bars} bars drawn from "
            f"{len(self._documents.lengths):,} pieces, anew in each epoch"
        )
        if self._left_out_bars:
            text += f", {self._left_out_bars:,} bars of no track that fits are left out"
        return text

    def places(self, row: Row) -> Places:
        """Return where each window of a row is in its piece."""
        sources = self._epoch(row.epoch).windows.sources[row.documents]
        places = self._places[sources[:, 0]].astype(np.int32)
        places[:, 0] += np.where(places[:, 0] == UNKNOWN, 0, sources[:, 1]).astype(np.int32)
        return places

    def read(self, row: Row) -> list[npt.NDArray[np.generic]]:
        """Return the tokens of each window of a row."""
        windows = self._epoch(row.epoch).windows
        return [windows.read(window) for window in row.documents.tolist()]

    def training_row(self, sample: int) -> Row:
        """Return the row of a training sample."""
        epoch, place = divmod(sample, self._rows)
        if 2 * place >= self._rows:
            self._planned(epoch + 1)  # while this one is read: no step waits
        return self._epoch(epoch).packing.row(self, epoch, int(self._order(epoch)[place]))

    def validation_row(self, sample: int) -> Row:
        """Return the row of a validation sample: fixed windows that do not overlap."""
        fixed = self._epoch(None).packing
        return empty_row(self) if sample >= len(fixed) else fixed.row(self, None, sample)
