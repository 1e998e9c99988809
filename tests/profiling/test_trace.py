"""Unions of intervals, against a timeline that is ticked off nanosecond by nanosecond."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from megatron_music.profiling.nsight.trace import Union, clip, merge, overlap, union

INTERVALS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=25)


def joined(pairs: list[tuple[int, int]]) -> Union:
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return union(table[:, 0], table[:, 1])


def ticks(pairs: list[tuple[int, int]]) -> set[int]:
    return {tick for start, end in pairs for tick in range(start, end)}


def ticked(covered: Union) -> set[int]:
    return ticks(list(zip(covered.starts.tolist(), covered.ends.tolist(), strict=True)))


@given(INTERVALS)
def test_a_union_covers_what_any_interval_covers(pairs: list[tuple[int, int]]) -> None:
    covered, seen = joined(pairs), ticks(pairs)
    assert ticked(covered) == seen
    assert covered.length == len(seen)
    assert covered.span == (max(seen) + 1 - min(seen) if seen else 0)
    assert (covered.starts < covered.ends).all(), "no part is empty"
    assert (covered.ends[:-1] < covered.starts[1:]).all(), "parts do not touch"


@given(INTERVALS, INTERVALS)
def test_the_overlap_is_the_time_that_both_cover(
    one: list[tuple[int, int]], other: list[tuple[int, int]]
) -> None:
    assert overlap(joined(one), joined(other)) == len(ticks(one) & ticks(other))


@given(st.lists(INTERVALS, max_size=4))
def test_merged_unions_cover_what_any_of_them_covers(each: list[list[tuple[int, int]]]) -> None:
    together = merge(*map(joined, each))
    assert ticked(together) == set().union(*map(ticks, each))


@given(INTERVALS, st.integers(0, 60), st.integers(0, 60))
def test_clipping_keeps_what_is_in_the_window(
    pairs: list[tuple[int, int]], start: int, end: int
) -> None:
    window = set(range(start, end))
    assert ticked(clip(joined(pairs), start, max(start, end))) == ticks(pairs) & window
