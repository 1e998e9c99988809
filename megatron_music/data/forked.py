"""Processes forked from one that has loaded what they all need, once.

Each starts in milliseconds and shares the memory of what was loaded. The standard library's fork
server does it; what it loads, and what its children leave out, stands in `loaded.py`.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from megatron_music.errors import UsageError

LOADED = "megatron_music.data.loaded"
KERNELS = "megatron_music.data.loaded_kernels"
"""Modules that are imported before anything is forked; the second may have to compile."""


class Worker(ForkServerProcess):
    """A forked process; by its name it is known from others."""


class _Context(ForkServerContext):
    Process = Worker


CONTEXT = _Context()


def start(kernels: bool = False) -> None:
    """Have the process that others are forked from load, and do not wait for it.

    Its first start settles whether it loads the `kernels` of files, too. Raises UsageError where
    there is no room for its socket's name.
    """
    CONTEXT.set_forkserver_preload([KERNELS, LOADED] if kernels else [LOADED])
    try:
        with _this_package_found():
            forkserver.ensure_running()
    except OSError as fault:
        raise UsageError(
            f"worker processes cannot be started: {fault}; a TMPDIR with a short name may help, "
            "or --workers 1"
        ) from None


@contextmanager
def _this_package_found() -> Iterator[None]:
    """Have a new interpreter find the package where this one did, not in the current folder."""
    root = Path(__file__).parents[2]
    installed = root.name in {"site-packages", "dist-packages"}
    places = [] if installed else [str(root)]
    if path := os.environ.get("PYTHONPATH"):
        places.append(path)
    with _environment({"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(places)}):
        yield


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
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


def end_all(pool: ProcessPoolExecutor) -> None:
    """End the processes of a pool at once, whatever they are at."""
    for process in list((pool._processes or {}).values()):  # noqa: SLF001 (kill_workers from 3.14)
        process.kill()
