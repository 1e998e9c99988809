"""Worker processes on this machine, or on a Ray cluster.

A call that ends its process raises `WorkerDied` and costs nothing but that call. Local workers are
forked by the standard library's fork server from a process that has loaded what they need
(`shards/preload.py`): each starts in milliseconds and shares that memory.

pebble 5.2 was measured in place of this and left. Its limit is one of time for a task, and a task
here is a shard of up to 512 pieces, of which each has its own limits of time and memory; and it
stops workers that compute one after another (3.7 s for two), where Ctrl-C should end them at once.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Protocol, TypeVar

from megatron_music.data.workers.limits import WorkerDied, mark_worker
from megatron_music.errors import UsageError

BACKENDS = ("local", "ray")

_POLITENESS = 5
"""The nice value of workers: below the process that feeds them, and other programs."""

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")

_CONTEXT = multiprocessing.get_context("forkserver")

PRELOAD = "megatron_music.data.shards.preload"
"""Imported by the fork server before it forks workers; it may have to compile kernels."""


class Workers(Protocol):
    """Workers that carry out calls; `local` is true if all processes are on this machine."""

    local: bool

    def run(self, work: Callable[[_Given], _Made], arguments: Sequence[_Given]) -> Iterator[_Made]:
        """Yield the results of `work` for each argument, in any order; raises WorkerDied.

        What was finished when a process died may be missing among what was yielded.
        """

    def survives(self, work: Callable[[_Given], _Made], argument: _Given) -> bool:
        """Carry out one call in another process; return False if it ends that process."""


class LocalWorkers:
    """Worker processes on this machine; a single worker is this process itself."""

    local = True

    def __init__(self, count: int) -> None:
        self.count = count

    def run(self, work: Callable[[_Given], _Made], arguments: Sequence[_Given]) -> Iterator[_Made]:
        """Yield the results of `work` for each argument, in any order; raises WorkerDied."""
        # A daemon may not start processes.
        if self.count == 1 or multiprocessing.current_process().daemon:
            yield from map(work, arguments)
        elif arguments:
            yield from _parallel(work, arguments, self.count)

    def survives(self, work: Callable[[_Given], _Made], argument: _Given) -> bool:
        """Carry out one call in another process; return False if it ends that process."""
        _pool.cache_clear()  # one of its processes may have died since
        try:
            list(_parallel(work, [argument], max(self.count, 2)))
        except WorkerDied:
            return False
        return True


def _parallel(
    work: Callable[[_Given], _Made], arguments: Sequence[_Given], count: int
) -> Iterator[_Made]:
    """Yield the results of calls; raises WorkerDied. If closed early it ends the processes."""
    start_fork_server()
    pool = _pool(count, threading.get_ident())
    try:
        calls = [pool.submit(work, argument) for argument in arguments]
        for call in as_completed(calls):
            yield call.result()
    except BrokenProcessPool as fault:
        _pool.cache_clear()
        raise WorkerDied from fault
    except BaseException:  # Ctrl-C, or the caller wants no more results
        _pool.cache_clear()
        # shutdown() would wait for the calls that run: minutes, where music21 reads a symphony.
        for process in list((pool._processes or {}).values()):  # noqa: SLF001 (kill_workers from 3.14)
            process.kill()
        raise


@lru_cache(maxsize=1)
def _pool(count: int, thread: int) -> ProcessPoolExecutor:  # noqa: ARG001 (one for each)
    """Return the process pool of this thread, which is kept from call to call."""
    return ProcessPoolExecutor(count, _CONTEXT, initializer=_begin)


def _begin() -> None:
    mark_worker()
    os.nice(_POLITENESS)

    # The server forks workers, so they are not children of the main process and would outlive it.
    def end_with_main() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_main, daemon=True).start()


def start_fork_server() -> None:
    """Start the process that workers are forked from, unless it is there; do not wait for it.

    Raises UsageError where the path of its socket is too long.
    """
    # The tracker would be started by the server, and would unblock the signal that is blocked here.
    resource_tracker.ensure_running()
    _CONTEXT.set_forkserver_preload([PRELOAD])
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with _this_package_found():
            forkserver.ensure_running()
    except OSError as fault:
        raise UsageError(
            f"worker processes cannot be started: {fault}; a TMPDIR with a short name may help, "
            "or --workers 1"
        ) from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_workers(backend: str, count: int | None) -> None:
    """Start the fork server with all that workers need, without waiting for it."""
    workers = open_workers(backend, count)
    if isinstance(workers, LocalWorkers) and workers.count > 1:
        start_fork_server()


def open_workers(backend: str, count: int | None) -> Workers:
    """Return `count` workers of a backend; None for as many as there are cores.

    Raises UsageError, and MissingError where the backend is not installed.
    """
    if count is not None and count < 1:
        raise UsageError(f"workers must be 1 or more (got {count})")
    if backend == "ray":
        from megatron_music.data.workers.ray import RayWorkers

        return RayWorkers(count)
    if backend != "local":
        raise UsageError(f"no backend {backend!r}; there are {' and '.join(BACKENDS)}")
    from joblib import cpu_count  # it knows of containers and of affinity

    return LocalWorkers(count or int(cpu_count()))


@contextmanager
def _this_package_found() -> Iterator[None]:
    """Have a new interpreter import the package from where this one did, not from the cwd."""
    root = Path(__file__).parents[3]
    installed = root.name in {"site-packages", "dist-packages"}
    places = [*([] if installed else [str(root)]), os.environ.get("PYTHONPATH", "")]
    values = {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(filter(None, places))}
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
