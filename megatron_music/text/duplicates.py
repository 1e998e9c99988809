"""The same text found again: exactly, or nearly, by MinHash over triples of words.

Signatures wait in files while a source is read, so that memory grows by some numbers a song.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash

from megatron_music.errors import MissingError

PERMUTATIONS = 64
BANDS = 16
ROWS = PERMUTATIONS // BANDS
"""Texts that share a band are compared: of pairs that are 0.8 alike all but 1 in 5,000 do."""
ALIKE = 0.8
"""Share of triples in common from which a text is the same song."""

_SEED = 1
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\d_]+|\d+")
"""A word; of Chinese and Japanese, which have no spaces, a character."""

Signatures = npt.NDArray[np.uint32]
Numbers = npt.NDArray[np.int64]


def words_of(text: str) -> list[str]:
    """Return the words of a text without case and punctuation."""
    return _WORD.findall(text.casefold())


class Sketches:
    """What texts are told apart by, in a folder; texts are numbered as they are added."""

    def __init__(self, folder: Path) -> None:
        """Begin; raises MissingError without datasketch."""
        try:
            import datasketch
        except ModuleNotFoundError:
            raise MissingError(
                "finding duplicates needs datasketch; install it with pip install datasketch"
            ) from None
        self._minhash = datasketch.MinHash
        self._signatures = folder / "signatures.u4"
        self._signature_file = self._signatures.open("wb")
        self._exact: list[npt.NDArray[np.uint64]] = []
        self._count = 0

    def add(self, texts: Sequence[str]) -> None:
        """Add some texts."""
        words = [words_of(text) for text in texts]
        triples = [_triples(one) for one in words]
        made = self._minhash.generator(
            triples, num_perm=PERMUTATIONS, seed=_SEED, hashfunc=xxhash.xxh32_intdigest
        )
        rows = np.array([one.hashvalues for one in made]).astype(np.uint32)
        self._signature_file.write(rows.tobytes())
        exact = [xxhash.xxh3_64_intdigest(" ".join(one).encode()) for one in words]
        self._exact.append(np.array(exact, np.uint64))
        self._count += len(texts)

    def first_of_each(self) -> Numbers:
        """Return for each text the number of the first that it is the same as: its own if new."""
        self._signature_file.close()
        first = np.arange(self._count)
        if not self._count:
            return first
        signatures = np.memmap(self._signatures, np.uint32, "r").reshape(-1, PERMUTATIONS)
        exact = np.concatenate(self._exact)
        for group in _groups(exact):
            first[group] = group[0]
        for band in range(BANDS):
            for group in _groups(_band(signatures, band)):
                _merge(group, first, signatures)
        for number in range(self._count):  # a text is the same as the first of its first
            first[number] = first[first[number]]
        return first


def _triples(words: Sequence[str]) -> list[bytes]:
    """Return the triples of words in a row; of fewer than three, what there is."""
    return list({" ".join(words[at : at + 3]).encode() for at in range(max(1, len(words) - 2))})


def _band(signatures: Signatures, band: int) -> npt.NDArray[np.uint64]:
    """Return a number for each text that is equal where a band is, read in portions."""
    folded = np.zeros(len(signatures), np.uint64)
    for start in range(0, len(signatures), 1 << 16):
        rows = signatures[start : start + (1 << 16), band * ROWS : (band + 1) * ROWS]
        for column in rows.T.astype(np.uint64):
            part = folded[start : start + len(column)]
            part *= np.uint64(0x9E3779B97F4A7C15)
            part += column
            part ^= part >> np.uint64(29)
    return folded


def _groups(values: npt.NDArray[np.uint64]) -> Iterator[Numbers]:
    """Give the places of each value that stands more than once, in ascending order."""
    order = np.argsort(values, kind="stable")
    edges = np.flatnonzero(np.diff(values[order])) + 1
    starts = np.concatenate(([0], edges))
    ends = np.concatenate((edges, [len(values)]))
    for start, end in zip(starts[ends - starts > 1], ends[ends - starts > 1], strict=True):
        yield order[start:end]


def _merge(group: Numbers, first: Numbers, signatures: Signatures) -> None:
    """Mark the texts of a group that are alike: each with the first of those that are left."""
    left = group[first[group] == group]
    while len(left) > 1:
        head, rest = left[0], left[1:]
        alike = (signatures[rest] == signatures[head]).mean(axis=1) >= ALIKE
        first[rest[alike]] = head
        left = rest[~alike]
        if not alike.any() and len(left) > _MOST_DIFFERENT:
            return


_MOST_DIFFERENT = 64
"""A band that so many different texts share tells nothing about them."""
