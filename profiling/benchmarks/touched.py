"""Free memory as a machine of one's own has it, on a virtual machine too.

A host takes back what is free, and hands it out again at a tenth of the speed of memory: a build
would be timed by that. It takes whole blocks of 2 MiB, so free pages with neighbours in use stay.
"""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

PAGE = mmap.PAGESIZE
_PART = 1 << 20


@contextmanager
def touched_memory(size_bytes: int) -> Iterator[None]:
    """Have so much free memory that has been written to; as much again is held meanwhile.

    Where there is not so much, or the system has no `madvise`, nothing is done.
    """
    whole_bytes = 2 * PAGE * max(size_bytes // PAGE, 1)
    enough = psutil.virtual_memory().available > whole_bytes + size_bytes
    if not enough or not hasattr(mmap, "MADV_DONTNEED"):
        yield
        return
    with mmap.mmap(-1, whole_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:
        _free_every_other_page(held)
        yield


def _free_every_other_page(held: mmap.mmap) -> None:
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        held.madvise(mmap.MADV_NOHUGEPAGE)
    written = b"\1" * _PART
    for start in range(0, len(held), _PART):
        held[start : start + _PART] = written[: len(held) - start]
    for start in range(0, len(held), 2 * PAGE):
        held.madvise(mmap.MADV_DONTNEED, start, PAGE)
