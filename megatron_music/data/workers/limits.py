"""Limits of time and memory for the process that reads a piece."""

import gc
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager


class WorkerDied(Exception):  # noqa: N818 (it is dealt with, not shown)
    """A process ended in the middle of a call."""


LONGEST_ITEM_S = 120.0
"""A worker that spends more on one piece is killed, and the piece refused."""

MOST_ITEM_BYTES = 1 << 30
"""A piece that takes more memory than this, beyond what its process holds already, is refused."""

_DATA_FIELD = 5  # of /proc/self/statm, in pages: what RLIMIT_DATA counts, and the stack

_is_worker = False


def mark_worker() -> None:
    """Mark this process as a worker: limits may kill it, and it ignores Ctrl-C."""
    global _is_worker  # noqa: PLW0603 (a fact about the process)
    _is_worker = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def time_limit(limit_s: float) -> Iterator[None]:
    """Kill this worker after `limit_s` seconds; a process that is not a worker has no limit."""
    if not _is_worker:
        yield
        return
    # The default action, not a Python handler: that would wait for compiled code to return.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def memory_limit(limit_bytes: int) -> Iterator[None]:
    """Raise MemoryError in code that takes more than `limit_bytes` beyond what the process holds.

    The limit is the kernel's (RLIMIT_DATA): it holds for compiled libraries too, and for all
    threads. Where it cannot be had, there is none.
    """
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 (once a piece)
            pages = int(file.read().split()[_DATA_FIELD])
    except OSError:
        yield
        return
    # The limit counts all that a process holds, its libraries and what it shares included.
    held_bytes = pages * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_DATA)
    others = [limit for limit in before if limit != resource.RLIM_INFINITY]
    limit = min([held_bytes + limit_bytes, *others])
    resource.setrlimit(resource.RLIMIT_DATA, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


@contextmanager
def uncollected(for_good: bool = False) -> Iterator[None]:
    """Switch off the garbage collector, which takes a fifth of the time, a third with music21.

    With `for_good` it never looks through the objects made in the block.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if for_good:
            gc.freeze()
        if was_enabled:
            gc.enable()
