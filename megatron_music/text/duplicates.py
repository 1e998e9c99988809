"""Find texts that are the same or nearly the same, by MinHash over triples of words.

Signatures are kept in a file, so memory grows by a few numbers a song.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash

from megatron_music.data.shards.near_duplicates import (
    PERMUTATIONS,
    Numbers,
    first_alike,
    groups_of,
    require_minhash,
    signatures,
)

ALIKE = 0.8
"""Share of triples in common from which a text is the same song."""

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\d_]+|\d+")
"""A word; of Chinese and Japanese, which have no spaces, a character."""


def words_of(text: str) -> list[str]:
    """Return the words of a text without case and punctuation."""
    return _WORD.findall(text.casefold())


class Sketches:
    """Sketches of texts, by which near duplicates are found, in a folder; numbered as added."""

    def __init__(self, folder: Path) -> None:
        """Begin; raises MissingError without datasketch."""
        require_minhash()
        self._signatures = folder / "signatures.u4"
        self._signature_file = self._signatures.open("wb")
        self._exact: list[npt.NDArray[np.uint64]] = []
        self._count = 0

    def add(self, texts: Sequence[str]) -> None:
        """Add some texts."""
        words = [words_of(text) for text in texts]
        # Triples of words in a row; of fewer than three words, what there is.
        triples = (
            list({" ".join(one[at : at + 3]).encode() for at in range(max(1, len(one) - 2))})
            for one in words
        )
        rows = signatures(triples, xxhash.xxh32_intdigest)
        self._signature_file.write(rows.tobytes())
        exact = [xxhash.xxh3_64_intdigest(" ".join(one).encode()) for one in words]
        self._exact.append(np.array(exact, np.uint64))
        self._count += len(texts)

    def first_of_each(self) -> Numbers:
        """Return for each text the number of the first one like it; its own for a new text."""
        self._signature_file.close()
        first = np.arange(self._count)
        if not self._count:
            return first
        for group in groups_of(np.concatenate(self._exact)):
            first[group] = group[0]
        rows = np.memmap(self._signatures, np.uint32, "r").reshape(-1, PERMUTATIONS)
        return first_alike(rows, ALIKE, first)
