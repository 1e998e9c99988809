"""What one piece may cost the process that reads it: time and memory."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST_ITEM_S = 120.0
"""A worker that spends more on one piece is ended, which refuses the piece."""

MOST_ITEM_BYTES = 1 << 30
"""A piece that takes more memory than this, beyond what its process holds already, is refused."""

_DATA_FIELD = 5  # of /proc/self/statm, in pages: what RLIMIT_DATA counts, and the stack

_expendable = False


def become_expendable() -> None:
    """Make this process one that a piece may end, and that leaves Ctrl-C to another."""
    global _expendable  # noqa: PLW0603 (a fact about the process)
    _expendable = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def mortal(limit_s: float) -> Iterator[None]:
    """End an expendable process that hangs, whatever it hangs in."""
    if not _expendable:
        yield
        return
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def modest(limit_bytes: int) -> Iterator[None]:
    """Have MemoryError raised where more is taken than `limit_bytes` beyond what is held already.

    The limit is the kernel's (RLIMIT_DATA): it holds for compiled libraries too, and for all
    threads. Where it cannot be had, there is none.
    """
    held_bytes = _held_bytes()
    if held_bytes is None:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)
    others = [limit for limit in before if limit != resource.RLIM_INFINITY]
    limit = min([held_bytes + limit_bytes, *others])
    resource.setrlimit(resource.RLIMIT_DATA, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _held_bytes() -> int | None:
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 (once a piece)
            return int(file.read().split()[_DATA_FIELD]) * resource.getpagesize()
    except OSError:
        return None
