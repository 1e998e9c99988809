"""Unions of intervals, cut to a window, against a timeline that is ticked off tick by tick."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from megatron_music.profiling.nsight.trace import Union, clip, union

INTERVALS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=25)


def joined(pairs: list[tuple[int, int]]) -> Union:
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return union(table[:, 0], table[:, 1])


def ticks(pairs: list[tuple[int, int]]) -> set[int]:
    return {tick for start, end in pairs for tick in range(start, end)}


def ticked(covered: Union) -> set[int]:
    return ticks(list(zip(covered.starts.tolist(), covered.ends.tolist(), strict=True)))


@given(INTERVALS, st.integers(0, 60), st.integers(0, 60))
def test_clipping_keeps_what_is_in_the_window(
    pairs: list[tuple[int, int]], start: int, end: int
) -> None:
    window = set(range(start, end))
    assert ticked(clip(joined(pairs), start, max(start, end))) == ticks(pairs) & window
