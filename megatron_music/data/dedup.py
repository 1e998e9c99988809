"""The same music found again, and a side of the split for each piece."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

from megatron_music.data.settings import SPLITS
from megatron_music.score.hashing import fingerprint

__all__ = ["fingerprint", "split_of"]


def split_of(fingerprint: str, weights: Sequence[int]) -> str:
    """Return train, valid or test: decided by the music alone, whatever else is in the set."""
    return SPLITS[bisect_right(_first_words(tuple(weights)), int(fingerprint[:16], 16))]


@lru_cache
def _first_words(weights: tuple[int, ...]) -> list[int]:
    """Return the first words of a fingerprint, of 64 bits, that no longer belong to each side."""
    return [-((-total << 64) // sum(weights)) for total in accumulate(weights)]
