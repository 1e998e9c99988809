"""The side of a piece follows from its fingerprint alone, and each side gets its share."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_music.data.settings import SPLITS
from megatron_music.data.split import last_training_word, split_of, weights_for_few
from megatron_music.score.hashing import WORD


def test_the_sides_get_about_their_shares() -> None:
    count = 4000
    random = np.random.default_rng(0)
    prints = [random.bytes(32).hex() for _ in range(count)]
    splits = Counter(split_of(music, (80, 15, 5)) for music in prints)
    assert splits["train"] / count == pytest.approx(0.80, abs=0.02)
    assert splits["valid"] / count == pytest.approx(0.15, abs=0.02)
    assert splits["test"] / count == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize(
    ("music", "split"),
    [("0" * 64, "train"), ("e" * 64, "valid"), ("f" * 64, "test"), ("8" * 64, "train")],
)
def test_the_side_is_decided_by_the_fingerprint_alone(music: str, split: str) -> None:
    assert split_of(music, (90, 5, 5)) == split
    assert split_of(music, (100, 0, 0)) == "train", "a side of weight zero gets nothing"


WORDS = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=40, unique=True)
WEIGHTS = st.tuples(st.integers(1, 99), st.integers(0, 99), st.integers(0, 99))


@given(WORDS, WEIGHTS)
def test_few_pieces_are_dealt_out_so_that_each_side_has_one(
    words: list[int], weights: tuple[int, ...]
) -> None:
    dealt = weights_for_few(words, weights)
    splits = Counter(split_of(f"{word:016x}" + "0" * 16, dealt) for word in words)
    asked = [name for name, weight in zip(SPLITS, weights, strict=True) if weight]
    assert set(splits) == set(asked[: len(words)])
    for name, weight in zip(SPLITS[1:], weights[1:], strict=True):
        assert splits[name] <= max(1, len(words) * weight / sum(weights))


def test_few_pieces_are_dealt_out_by_their_weights() -> None:
    words = [number << 57 for number in range(1, 101)]
    dealt = weights_for_few(words, (90, 5, 5))
    assert Counter(split_of(f"{word:032x}"[16:] + "0" * 16, dealt) for word in words) == {
        "train": 90,
        "valid": 5,
        "test": 5,
    }


def test_the_share_of_training_is_its_weight() -> None:
    assert last_training_word((1, 0, 0)) == WORD
    assert last_training_word((1, 1)) == WORD >> 1
    for weights in ((90, 5, 5), (1, 2), (7, 3, 11)):
        last = last_training_word(weights)
        assert split_of(f"{last:016x}", weights) == "train"
        assert split_of(f"{last + 1:016x}", weights) == "valid"
