"""Python's garbage collector, which looks through whatever was made again and again."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected(for_good: bool = False) -> Iterator[None]:
    """Hold the collector back where much is made: it takes a fifth of the time, a third of music21.

    What was there before stays frozen: the compiler alone has half a million objects for good.
    `for_good` freezes what is made, too.
    """
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        if for_good:
            gc.freeze()
        gc.enable()
