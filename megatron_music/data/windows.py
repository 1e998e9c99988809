"""The documents of a data set as windows: as they are, or cut from whole pieces.

Windows of training pieces are drawn as training draws them: anew in each epoch, in all keys.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from megatron_music.data.indexed import IndexedReader, documents_in
from megatron_music.data.manifest import read_manifest
from megatron_music.data.settings import SPLITS, BuildSettings
from megatron_music.tokenizer.document_places import UNKNOWN, Places, load_places
from megatron_music.tokenizer.vocabulary import TokenArray, Vocabulary
from megatron_music.tokenizer.windows import WHOLE, Documents, Windows, fixed_draw, new_draw, plan

IntArray = npt.NDArray[np.int64]


class WindowReader:
    """The windows of one split of a data set, in the order of its music; no bars are hidden.

    Of whole pieces for validation and test they are side by side, in their own key. Those for
    training are drawn: an epoch of them, or more, up to one for each of the `keys`, until there are
    `at_least` windows. `owners[i]` is the document that window i is from, `places[i]` where it
    is in its piece. `keys` is 1 where documents are windows.
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
