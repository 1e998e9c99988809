"""Arithmetic on sets of time intervals, vectorised: millions of kernels in one sweep.

Intervals are half-open, `[start, end)`, in integer nanoseconds. What `union` returns is sorted,
disjoint and without empty members: only such sets may be measured, intersected or clipped.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Times: TypeAlias = NDArray[np.int64]


class Union(NamedTuple):
    """Disjoint, sorted intervals: `starts[i] < ends[i] < starts[i + 1]`, in nanoseconds."""

    starts: Times
    ends: Times

    @property
    def length(self) -> int:
        """Time covered, in nanoseconds."""
        return int((self.ends - self.starts).sum())

    @property
    def span(self) -> int:
        """Time from the first start to the last end, in nanoseconds; 0 if there is nothing."""
        return int(self.ends[-1] - self.starts[0]) if len(self.starts) else 0


def union(starts: Times, ends: Times) -> Union:
    """Return the time covered by at least one of the intervals; touching ones are merged."""
    kept = ends > starts
    starts, ends = starts[kept], ends[kept]
    if not len(starts):
        return Union(starts, ends)
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], np.maximum.accumulate(ends[order])
    opens = np.flatnonzero(np.concatenate(([True], starts[1:] > ends[:-1])))
    closes = np.concatenate((opens[1:], [len(starts)])) - 1
    return Union(starts[opens], ends[closes])


def merge(*unions: Union) -> Union:
    """Return the time covered by at least one of the unions."""
    if not unions:
        return Union(np.empty(0, np.int64), np.empty(0, np.int64))
    return union(
        np.concatenate([each.starts for each in unions]),
        np.concatenate([each.ends for each in unions]),
    )


def overlap(one: Union, other: Union) -> int:
    """Return the time covered by both, in nanoseconds."""
    return one.length + other.length - merge(one, other).length


def clip(covered: Union, start: int, end: int) -> Union:
    """Return the part of a union that lies within `[start, end)`, in nanoseconds."""
    return union(np.clip(covered.starts, start, end), np.clip(covered.ends, start, end))
