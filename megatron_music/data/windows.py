"""The documents of a data set as windows: as they are, or cut from whole pieces side by side."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from megatron_music.data.indexed import IndexedReader, documents_in
from megatron_music.data.manifest import read_manifest
from megatron_music.tokenizer.places import UNKNOWN, Places, load_places
from megatron_music.tokenizer.vocabulary import TokenArray, Vocabulary
from megatron_music.tokenizer.windows import WHOLE, fixed_draw, plan

IntArray = npt.NDArray[np.int64]


class WindowReader:
    """The windows of one split of a data set, in the order of its music.

    Of whole pieces they are the windows for validation: in their own key, all tracks, no bars
    hidden. `owners[i]` is the document that window i is from, `places[i]` where it is in its
    piece.
    """

    def __init__(self, folder: Path, split: str, vocabulary: Vocabulary) -> None:
        """Open the windows; raises DataError where the data set is damaged."""
        self._reader = IndexedReader(folder / split)
        self.documents = count = len(self._reader)
        places = load_places(folder / split, count)
        if places is None:
            places = np.full((count, 2), UNKNOWN, np.int32)
        settings: dict[str, Any] = read_manifest(folder)["settings"]
        self._windows = None
        self.owners: IntArray = np.arange(count, dtype=np.int64)
        self.places: Places = places
        if settings.get("pieces"):
            draw = fixed_draw(shuffle=settings["shuffle"], max_tracks=settings["max_tracks"])
            documents = documents_in(self._reader, range(count))
            bars = vocabulary.settings.bars
            self._windows = plan(documents, draw, bars, WHOLE, vocabulary, moves=False)
            self.owners, firsts = self._windows.sources.T
            self.places = np.array(places[self.owners], np.int32)
            self.places[:, 0] += np.where(self.places[:, 0] == UNKNOWN, 0, firsts).astype(np.int32)

    def __len__(self) -> int:
        return len(self.owners)

    def __getitem__(self, window: int) -> TokenArray:
        if self._windows is None:
            return np.asarray(self._reader[window], np.uint16)
        return self._windows.read(window)

    def __iter__(self) -> Iterator[TokenArray]:
        return (self[window] for window in range(len(self)))
