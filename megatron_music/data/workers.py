"""Processes that work: on this machine, or on a Ray cluster.

Either way a call may end the process that carries it out; this is told by `WorkerDied`, and costs
nothing but that call.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from typing import Any, Protocol, TypeVar

from megatron_music.data.limits import become_expendable
from megatron_music.errors import UsageError

BACKENDS = ("local", "ray")

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


class WorkerDied(Exception):  # noqa: N818 (it is dealt with, not shown)
    """A process ended in the middle of a call."""


class Workers(Protocol):
    """Carries out calls on processes of its own; `local` says that all are on this machine."""

    local: bool

    def run(self, work: Callable[[_Given], _Made], arguments: Sequence[_Given]) -> Iterator[_Made]:
        """Yield what `work` makes of each argument, in any order; raises WorkerDied.

        What was finished when a process died may be missing among what was yielded.
        """

    def survives(self, work: Callable[[_Given], _Made], argument: _Given) -> bool:
        """Carry out one call in another process; False if that process dies of it."""


class LocalWorkers:
    """Processes of this machine, by joblib; one worker is this process itself."""

    local = True

    def __init__(self, count: int) -> None:
        self.count = count

    def run(self, work: Callable[[_Given], _Made], arguments: Sequence[_Given]) -> Iterator[_Made]:
        """Yield what `work` makes of each argument, in any order; raises WorkerDied."""
        count = min(self.count, len(arguments))
        if count <= 1:
            yield from map(work, arguments)
        else:
            yield from _parallel(work, arguments, count)

    def survives(self, work: Callable[[_Given], _Made], argument: _Given) -> bool:
        """Carry out one call in another process; False if that process dies of it."""
        try:
            list(_parallel(work, [argument], 2))
        except WorkerDied:
            return False
        return True


def _parallel(
    work: Callable[[_Given], _Made], arguments: Sequence[_Given], count: int
) -> Iterator[_Made]:
    """Start the calls; return what yields what they make. Raises WorkerDied."""
    from joblib import Parallel, delayed

    run: Any = Parallel(
        count,
        return_as="generator_unordered",
        batch_size=1,
        initializer=become_expendable,
        initargs=(os.getpid(),),
    )
    with _deaths_told(), _interrupts_held_back():
        made = run(delayed(work)(argument) for argument in arguments)
    return _results(made)


def _results(made: Iterator[_Made]) -> Iterator[_Made]:
    with _deaths_told():
        yield from made


@contextmanager
def _deaths_told() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as fault:
        raise WorkerDied from fault


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Let Ctrl-C wait; processes that start meanwhile never meet it, not even while they load."""
    # It would start in the middle, and lift what is set here.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_workers(backend: str, count: int | None) -> None:
    """Have the processes of this machine load what they need, beside whatever is done meanwhile.

    `open_workers` of the same backend and count works with these processes.
    """
    workers = open_workers(backend, count)
    if isinstance(workers, LocalWorkers) and workers.count > 1:
        loading = _parallel(_load, range(workers.count), workers.count)
        threading.Thread(target=_exhaust, args=(loading,), daemon=True).start()


def _exhaust(calls: Iterator[Any]) -> None:
    with suppress(Exception):  # a call that is waited for will tell, if no Ctrl-C ends them all
        for _ in calls:
            pass


def _load(_: int) -> None:
    from megatron_music.data import shards
    from megatron_music.tokenizer import batch

    del shards, batch


def open_workers(backend: str, count: int | None) -> Workers:
    """Return so many workers (None: as many as there are cores) of a backend.

    Raises UsageError, and MissingError where the backend is not installed.
    """
    if count is not None and count < 1:
        raise UsageError(f"workers must be 1 or more (got {count})")
    if backend == "ray":
        from megatron_music.data.ray_workers import RayWorkers

        return RayWorkers(count)
    if backend != "local":
        raise UsageError(f"no backend {backend!r}; there are {' and '.join(BACKENDS)}")
    return LocalWorkers(count or _usable_cpus())


def _usable_cpus() -> int:
    from joblib import cpu_count

    return int(cpu_count())
