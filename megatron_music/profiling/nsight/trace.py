"""Arithmetic on sets of time intervals, vectorised: millions of kernels in one sweep.

Intervals are half-open, `[start, end)`, in integer nanoseconds. What `union` returns is sorted,
disjoint and without empty members: only such sets may be measured, intersected or clipped.
"""

from collections.abc import Iterable, Mapping, Sequence
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


COLUMNS = [("start", "i8"), ("end", "i8"), ("device", "i8"), ("process", "i8"), ("name", "i8")]


@dataclass(frozen=True)
class Activity:
    """What ran on GPUs: a structured array of COLUMNS, in nanoseconds; `name` is of `names`."""

    rows: NDArray[np.void]
    names: tuple[str, ...]

    def __len__(self) -> int:
        """Return how many things ran."""
        return len(self.rows)

    @classmethod
    def of(cls, rows: Iterable[tuple[int, ...]], names: Mapping[int, str]) -> "Activity":
        """Return the activity of rows whose names are keys of `names`."""
        table = np.fromiter(rows, dtype=COLUMNS)
        used, table["name"] = np.unique(table["name"], return_inverse=True)
        return cls(table, tuple(names.get(int(key), f"kernel {int(key)}") for key in used))

    def and_also(self, other: "Activity") -> "Activity":
        """Return both together."""
        rows = np.concatenate((self.rows, other.rows))
        rows["name"][len(self.rows) :] += len(self.names)
        return Activity(rows, self.names + other.names)

    def on(self, device: int) -> "Activity":
        """Return what ran on a device."""
        return Activity(self.rows[self.rows["device"] == device], self.names)


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


class Capture(NamedTuple):
    """What a file holds: the ranges by their start, the longer first; names by GPU."""

    kernels: Activity
    copies: Activity
    ranges: Sequence[Range]
    names: Mapping[int, str]


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
