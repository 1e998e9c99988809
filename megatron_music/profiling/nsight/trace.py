"""Arithmetic on sets of time intervals, vectorised: millions of kernels in one sweep.

Intervals are half-open, `[start, end)`, in integer nanoseconds. What `union` returns is sorted,
disjoint and without empty members: only such sets may be measured, intersected or clipped.
"""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Times: TypeAlias = NDArray[np.int64]

PID_UNIT = 1 << 24
"""A global process id is `(host and process) * 2^24`; a thread's adds its own id to that."""


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


@dataclass(frozen=True)
class Activity:
    """Things that ran on GPUs: times in nanoseconds, the CUDA device, the process, the name."""

    start: Times
    end: Times
    device: Times
    process: Times
    name: Times
    """An index into `names`."""
    names: tuple[str, ...]

    def __len__(self) -> int:
        """Return how many things ran."""
        return len(self.start)

    def where(self, chosen: NDArray[np.bool_]) -> "Activity":
        """Return the chosen ones."""
        return Activity(
            self.start[chosen],
            self.end[chosen],
            self.device[chosen],
            self.process[chosen],
            self.name[chosen],
            self.names,
        )


@dataclass(frozen=True)
class Range:
    """An NVTX range of one thread; times in nanoseconds."""

    name: str
    start: int
    end: int
    thread: int

    @property
    def process(self) -> int:
        """The process that the thread belongs to, numbered as in `Activity`."""
        return self.thread // PID_UNIT


def union(starts: Times, ends: Times) -> Union:
    """Return the time covered by at least one of the intervals; touching ones are merged."""
    kept = ends > starts
    starts, ends = starts[kept], ends[kept]
    if not len(starts):
        return Union(starts, ends)
    order = np.argsort(starts, kind="stable")
    # A long interval may cover later ones that end before it.
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
    # By inclusion and exclusion, which needs no pairing of intervals.
    return one.length + other.length - merge(one, other).length


def clip(covered: Union, start: int, end: int) -> Union:
    """Return the part of a union within `[start, end)`, in nanoseconds."""
    return union(np.clip(covered.starts, start, end), np.clip(covered.ends, start, end))
