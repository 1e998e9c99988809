"""Near duplicates by MinHash: sets that have most of their members in common.

A signature is PERMUTATIONS numbers; the share of equal ones estimates the Jaccard similarity of two
sets. Only sets that share a band of their signatures are compared.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from megatron_music.errors import MissingError

PERMUTATIONS = 64
BANDS = 16
ROWS = PERMUTATIONS // BANDS
"""Sets that share a band are compared: of pairs that are 0.8 alike all but 1 in 5,000 do."""

_SEED = 1
_PORTION_ROWS = 1 << 16
_MOST_DIFFERENT = 64
"""A band that this many different sets share says nothing about them."""

Signatures = npt.NDArray[np.uint32]
Numbers = npt.NDArray[np.int64]


def require_minhash() -> None:
    """Raise MissingError without datasketch."""
    _minhash()


def signatures(sets: Iterable[Iterable[Any]], hash32: Callable[[Any], int]) -> Signatures:
    """Return the signatures [sets, PERMUTATIONS] of sets; `hash32` gives 32 bits of a member."""
    made = _minhash().generator(sets, num_perm=PERMUTATIONS, seed=_SEED, hashfunc=hash32)
    rows = [one.hashvalues for one in made]
    return np.array(rows, np.uint64).reshape(-1, PERMUTATIONS).astype(np.uint32)


def first_alike(rows: Signatures, least_alike: float, first: Numbers | None = None) -> Numbers:
    """Return for each signature the number of the first one that it resembles, or its own.

    `first` may have these numbers already for sets that are equal.
    """
    first = np.arange(len(rows)) if first is None else first
    for band in range(BANDS):
        # A number for each set that is equal where the band is; in portions, since the rows may be
        # mapped from a file.
        folded = np.zeros(len(rows), np.uint64)
        for start in range(0, len(rows), _PORTION_ROWS):
            columns = rows[start : start + _PORTION_ROWS, band * ROWS : (band + 1) * ROWS]
            for column in columns.T.astype(np.uint64):
                part = folded[start : start + len(column)]
                part *= np.uint64(0x9E3779B97F4A7C15)
                part += column
                part ^= part >> np.uint64(29)
        for group in groups_of(folded):
            # Each set with the first of those that are left and that it is like.
            left = group[first[group] == group]
            while len(left) > 1:
                head, rest = left[0], left[1:]
                alike = (rows[rest] == rows[head]).mean(axis=1) >= least_alike
                first[rest[alike]] = head
                left = rest[~alike]
                if not alike.any() and len(left) > _MOST_DIFFERENT:
                    break
    for number in range(len(first)):  # a set is like the first of its first
        first[number] = first[first[number]]
    return first


def groups_of(values: npt.NDArray[np.uint64]) -> Iterator[Numbers]:
    """Give the places of each value that occurs more than once, in ascending order."""
    order = np.argsort(values, kind="stable")
    edges = np.flatnonzero(np.diff(values[order])) + 1
    starts = np.concatenate(([0], edges))
    ends = np.concatenate((edges, [len(values)]))
    for start, end in zip(starts[ends - starts > 1], ends[ends - starts > 1], strict=True):
        yield order[start:end]


def _minhash() -> Any:
    try:
        import datasketch
    except ModuleNotFoundError:
        raise MissingError(
            "finding near duplicates needs datasketch; install it with pip install datasketch"
        ) from None
    return datasketch.MinHash
