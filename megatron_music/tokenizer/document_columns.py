"""Documents in memory: the columns that the encoder fills and that a shard file keeps."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.tokenizer.vocabulary import TokenArray

Rates = npt.NDArray[np.float64]


class DocumentColumns(NamedTuple):
    """Documents one after another.

    `tokens` of all documents; of each document `lengths` in tokens, the number of its `tracks`,
    and in `first_bars` the bars of its piece before it; of each track of each document `rates`, in
    notes a bar, which densities are cut from.
    """

    tokens: TokenArray
    lengths: npt.NDArray[np.int32]
    tracks: npt.NDArray[np.int32]
    first_bars: npt.NDArray[np.int32]
    rates: Rates

    def part(self, documents: slice, tokens: slice, tracks: slice) -> "DocumentColumns":
        """Return some of the documents, given where these and their tokens and tracks are."""
        return DocumentColumns(
            self.tokens[tokens],
            self.lengths[documents],
            self.tracks[documents],
            self.first_bars[documents],
            self.rates[tracks],
        )

    def one_by_one(self) -> Iterator[tuple[TokenArray, Rates, int]]:
        """Give of each document its tokens, the rates of its tracks, and its first bar."""
        token = track = 0
        columns = (self.lengths.tolist(), self.tracks.tolist(), self.first_bars.tolist())
        for length, tracks, first_bar in zip(*columns, strict=True):
            yield self.tokens[token : token + length], self.rates[track : track + tracks], first_bar
            token, track = token + length, track + tracks


def document_columns(documents: Iterable[tuple[TokenArray, Rates, int]]) -> DocumentColumns:
    """Return documents, given as `one_by_one` gives them, as columns."""
    tokens, rates, first_bars = list(zip(*documents, strict=True)) or ((), (), ())
    return DocumentColumns(
        np.concatenate([np.zeros(0, np.uint16), *tokens]),
        np.array([len(document) for document in tokens], np.int32),
        np.array([len(document) for document in rates], np.int32),
        np.array(first_bars, np.int32),
        np.concatenate([np.zeros(0), *rates]),
    )


def concatenated(parts: Sequence[DocumentColumns]) -> DocumentColumns:
    """Return the documents of all parts, of which there is at least one, in their order."""
    return DocumentColumns(*map(np.concatenate, zip(*parts, strict=True)))


NO_DOCUMENTS = document_columns(())
