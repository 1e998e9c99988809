"""Python's garbage collector, which looks through whatever was made again and again."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected(for_good: bool = False) -> Iterator[None]:
    """Hold the collector back where much is made: it takes a fifth of the time, a third of music21.

    `for_good` has it never look through what is there afterwards.
    """
    at_work = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if for_good:
            gc.freeze()
        if at_work:
            gc.enable()
