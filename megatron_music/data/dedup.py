"""The same music found again, and a side of the split for each piece."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from megatron_music.data.settings import SPLITS
from megatron_music.score.hashing import fingerprint

__all__ = ["fingerprint", "split_of"]


def split_of(fingerprint: str, weights: Sequence[int]) -> str:
    """Return train, valid or test: decided by the music alone, whatever else is in the set."""
    place = int(fingerprint[:16], 16) * sum(weights) >> 64
    return SPLITS[bisect_right(list(accumulate(weights)), place)]
