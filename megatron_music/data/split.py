"""Assign a piece to train, valid or test by a hash of its music."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise

from megatron_music.data.settings import SPLITS

FEW_PIECES = 512
"""If a data set has at most so many pieces and a split is empty, pieces are assigned anew."""


def split_of(fingerprint: str, weights: Sequence[int]) -> str:
    """Return train, valid or test; it depends on the fingerprint of the music alone."""
    return SPLITS[bisect_right(_first_words(tuple(weights)), first_word(fingerprint))]


def last_training_word(weights: Sequence[int]) -> int:
    """Return the highest first word of a fingerprint whose piece is in training."""
    return _first_words(tuple(weights))[0] - 1


@lru_cache
def _first_words(weights: tuple[int, ...]) -> list[int]:
    """Return for each split the lowest first word, of 64 bits, that is beyond it."""
    return [-((-total << 64) // sum(weights)) for total in accumulate(weights)]


def first_word(fingerprint: str) -> int:
    """Return the 64 bits of a fingerprint that decide on its split."""
    return int(fingerprint[:16], 16)


def weights_for_few(words: Sequence[int], weights: Sequence[int]) -> tuple[int, ...]:
    """Return weights by which `split_of` gives each split its share of few pieces, one at least.

    `words` are the first words of their fingerprints, all different. Where there are fewer pieces
    than splits, training comes first, then validation.
    """
    # From the last split to the first, so that training is left what the others do not take.
    ends, left = [len(words)], len(words)
    for split in range(len(weights) - 1, 0, -1):
        before = sum(weight > 0 for weight in weights[:split])
        fair = max(len(words) * weights[split] // sum(weights), 1) if weights[split] else 0
        left -= max(min(fair, left - before), 0)
        ends.append(left)
    edges = [0, *(([*sorted(words), 1 << 64])[end] for end in reversed(ends))]
    return tuple(after - before for before, after in pairwise(edges))
