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
    assert ticked(joined(pairs)) == ticks(pairs)
    assert joined(pairs).length == len(ticks(pairs))


@given(INTERVALS)
def test_a_union_is_sorted_disjoint_and_without_touching_or_empty_parts(
    pairs: list[tuple[int, int]],
) -> None:
    covered = joined(pairs)
    assert (covered.starts < covered.ends).all()
    assert (covered.ends[:-1] < covered.starts[1:]).all()


@given(INTERVALS)
def test_the_span_reaches_from_the_first_start_to_the_last_end(
    pairs: list[tuple[int, int]],
) -> None:
    seen = ticks(pairs)
    assert joined(pairs).span == (max(seen) + 1 - min(seen) if seen else 0)


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


def test_a_long_interval_hides_the_short_ones_that_start_within_it() -> None:
    covered = joined([(0, 10), (1, 2), (3, 4), (12, 13)])
    assert covered.starts.tolist() == [0, 12]
    assert covered.ends.tolist() == [10, 13]
