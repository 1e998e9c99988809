"""Read the windows of a data set; describe them for the tokenizer and the manifest.

A data set of whole pieces stores no windows. Those of training pieces are drawn here as training
draws them: new ones in each epoch, in all keys.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from megatron_music.data.indexed import IndexedReader, documents_in, labels_in, spread
from megatron_music.data.manifest import read_manifest, split_record
from megatron_music.data.settings import SPLITS, BuildSettings
from megatron_music.score.hashing import scramble
from megatron_music.score.instruments import INSTRUMENT_COUNT, instrument_name
from megatron_music.tokenizer import attributes
from megatron_music.tokenizer.instrumentations import (
    FEWEST_OF_A_LABEL,
    MOST_DRAWN,
    Instrumentation,
    with_instrumentations,
    with_rare_labels,
)
from megatron_music.tokenizer.places_in_piece import UNKNOWN, Places, load_places
from megatron_music.tokenizer.vocabulary import (
    TokenArray,
    TokenizerSettings,
    Vocabulary,
    vocabulary_of,
)
from megatron_music.tokenizer.window_draw import WHOLE, Documents, fixed_draw, new_draw
from megatron_music.tokenizer.windows import Windows, plan

IntArray = npt.NDArray[np.int64]


class WindowReader:
    """The windows of one split of a data set, in the order of its music, without hidden bars.

    Windows of whole pieces for validation and test follow each other, in their own key. Those for
    training are drawn, epoch by epoch, until there are `at_least` windows or an epoch for each of
    the `keys`. `owners[i]` is the document of window i, `places[i]` its place in the piece. `keys`
    is 1 where documents are windows.
    """

    def __init__(
        self, folder: Path, split: str, vocabulary: Vocabulary, *, at_least: int = 1
    ) -> None:
        """Open the windows; raises DataError where the data set is damaged."""
        self._reader = IndexedReader(folder / split)
        self.documents = count = len(self._reader)
        places = load_places(folder / split, count)
        if places is None:
            places = np.full((count, 2), UNKNOWN, np.int32)
        settings: dict[str, Any] = read_manifest(folder)["settings"]
        self.keys = settings["transpositions"] if _is_drawn(settings, split) else 1
        self._epochs: list[Windows] = []
        self.owners: IntArray = np.arange(count, dtype=np.int64)
        self.places: Places = places
        if settings.get("pieces"):
            documents = documents_in(self._reader, range(count))
            self._epochs = _planned(documents, vocabulary, settings, split, at_least)
            sources = np.concatenate([epoch.sources for epoch in self._epochs])
            self.owners, firsts = sources.T
            self.places = np.array(places[self.owners], np.int32)
            self.places[:, 0] += np.where(self.places[:, 0] == UNKNOWN, 0, firsts).astype(np.int32)

    def __len__(self) -> int:
        return len(self.owners)

    def __getitem__(self, window: int) -> TokenArray:
        if not self._epochs:
            return np.asarray(self._reader[window], np.uint16)
        epoch = 0
        while window >= len(self._epochs[epoch]):
            window -= len(self._epochs[epoch])
            epoch += 1
        return self._epochs[epoch].read(window)

    def __iter__(self) -> Iterator[TokenArray]:
        return (self[window] for window in range(len(self)))


def _is_drawn(settings: dict[str, Any], split: str) -> bool:
    return bool(settings.get("pieces")) and split == SPLITS[0]


def _planned(
    documents: Documents,
    vocabulary: Vocabulary,
    settings: dict[str, Any],
    split: str,
    at_least: int,
) -> list[Windows]:
    """Return the windows of pieces, an epoch after another."""
    bars = vocabulary.settings.bars
    shuffle, most = settings["shuffle"], settings["max_tracks"]
    if not _is_drawn(settings, split):
        draw = fixed_draw(shuffle=shuffle, max_tracks=most)
        return [plan(documents, draw, bars, WHOLE, vocabulary, moves=False)]
    shifts = BuildSettings(transpositions=settings["transpositions"]).shifts
    epochs: list[Windows] = []
    while not epochs or (sum(map(len, epochs)) < at_least and len(epochs) < len(shifts)):
        draw = new_draw(len(epochs), shifts, shuffle=shuffle, max_tracks=most)
        epochs.append(plan(documents, draw, bars, WHOLE, vocabulary, moves=True))
    return epochs


_LOOKED_AT = 4 * MOST_DRAWN  # some are shorter than a window: the ends of pieces


def with_training_instruments(
    settings: TokenizerSettings, prefix: Path, built: BuildSettings
) -> TokenizerSettings:
    """Return settings with the instruments of some training windows, from which songs get theirs.

    The windows are spread evenly over the training `.bin/.idx` at `prefix`, which was built with
    `built`. Rare labels have some windows more. If all pieces have the same instruments
    (`ensemble`), the settings stay as they are.
    """
    if settings.ensemble:
        return settings
    vocabulary, reader = vocabulary_of(settings), IndexedReader(prefix)
    rows = _instrumentations(reader, spread(len(reader), _LOOKED_AT), vocabulary, built)
    drawn = sorted(rows[i] for i in spread(len(rows), MOST_DRAWN))
    if settings.attributes:
        of_rare = _of_rare_labels(drawn, reader, vocabulary)
        others = _instrumentations(reader, of_rare, vocabulary, built)
        # In an order that mixes pieces: the few windows of a label shall be of several.
        order = np.argsort(scramble(np.arange(len(others), dtype=np.uint64)), kind="stable")
        drawn = with_rare_labels(drawn, (others[i] for i in order.tolist()))
    return with_instrumentations(settings, drawn)


def window_record(
    settings: TokenizerSettings, prefix: Path, built: BuildSettings
) -> dict[str, Any]:
    """Return the manifest's record of the windows that training draws from whole pieces.

    It has the fields of a split's record: `documents` counts windows, `pieces` the documents that
    they are from, a sample of all.
    """
    reader = IndexedReader(prefix)
    documents = spread(len(reader), _LOOKED_AT)
    sizes = _all_windows(reader, documents, vocabulary_of(settings), built, fill=built.fill).sizes
    return {
        "bars": built.bars,
        **split_record(len(documents), np.bincount(sizes)),
    }


def _all_windows(
    reader: IndexedReader,
    documents: list[int],
    vocabulary: Vocabulary,
    built: BuildSettings,
    *,
    fill: bool = False,
) -> Windows:
    """Return windows of whole pieces, in their own key, whatever their length."""
    draw = fixed_draw(fill=fill, shuffle=built.shuffle, max_tracks=built.max_tracks)
    pieces = documents_in(reader, np.array(documents, np.int64))
    return plan(pieces, draw, built.bars, WHOLE, vocabulary, moves=False)


def _instrumentations(
    reader: IndexedReader, documents: list[int], vocabulary: Vocabulary, built: BuildSettings
) -> list[Instrumentation]:
    """Return the instruments of windows of some documents; short windows only if all are short."""
    if built.pieces:
        cut = _all_windows(reader, documents, vocabulary, built)
        windows = [cut.read(i) for i in spread(len(cut), _LOOKED_AT)]
    else:
        windows = [np.asarray(reader[i], np.uint16) for i in documents]
    words = vocabulary.settings.attributes
    marks = (vocabulary.track_start, vocabulary.bar_end, vocabulary.ids["FILL_IN"])
    rows, whole = [], []
    for window in windows:
        tokens = window.astype(np.int64)
        # Ascending, and without unknown labels, as `TokenizerSettings` keeps them.
        codes = np.sort(tokens - vocabulary.inst)
        played = codes[(codes >= 0) & (codes < INSTRUMENT_COUNT)].tolist()
        numbers = (tokens - vocabulary.attribute).tolist()
        labels = [words[number] for number in numbers if 0 <= number < len(words)]
        known = [word for word in labels if not word.endswith(f"={attributes.UNKNOWN}")]
        row = Instrumentation(" ".join(map(instrument_name, played)), len(tokens), " ".join(known))
        rows.append(row)
        tracks, shown, hidden = (int(np.count_nonzero(tokens == mark)) for mark in marks)
        if (shown + hidden) // max(tracks, 1) == vocabulary.settings.bars:
            whole.append(row)
    return whole or rows


def _of_rare_labels(
    drawn: list[Instrumentation], reader: IndexedReader, vocabulary: Vocabulary
) -> list[int]:
    """Return some documents of each label that fewer than FEWEST_OF_A_LABEL rows have."""
    words = vocabulary.settings.attributes
    tokens = labels_in(reader, vocabulary)
    labels = tokens.ravel() - vocabulary.attribute
    # Sorted once, since thousands of labels and millions of documents are possible.
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], np.arange(len(words) + 1))
    known = Counter(label for row in drawn for label in row.labels.split())
    chosen: set[int] = set()
    for number, word in enumerate(words):
        if known[word] < FEWEST_OF_A_LABEL and not word.endswith(f"={attributes.UNKNOWN}"):
            of_label = order[ends[number] : ends[number + 1]] // tokens.shape[1]
            chosen.update(int(of_label[i]) for i in spread(len(of_label), FEWEST_OF_A_LABEL))
    return sorted(chosen)
