"""Processes forked from one that has loaded what they all need, once.

Each starts in milliseconds and shares the memory of what was loaded. The standard library's fork
server does it; what is added here is that a script is not run again in every process, which no
function of this package needs.
"""

import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

LOADED = "megatron_music.data.loaded"
"""The module that is imported before anything is forked."""


class Worker(ForkServerProcess):
    """A forked process, which knows nothing of the main module of the process that asked for it."""

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:  # noqa: N802
        with _no_main_module():
            return ForkServerProcess._Popen(process_obj)  # noqa: SLF001 (how it is extended)


class _Context(ForkServerContext):
    Process = Worker


CONTEXT = _Context()


@contextmanager
def stand_in(name: str, module: ModuleType | None) -> Iterator[None]:
    """Have a module be another, or None: one that is not installed."""
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment] # None is known
    had, before = name in modules, modules.get(name)
    modules[name] = module
    try:
        yield
    finally:
        if had:
            modules[name] = before
        else:
            del modules[name]


def _no_main_module() -> AbstractContextManager[None]:
    """Hide the main module: a script without `if __name__ == "__main__"` would start all over."""
    return stand_in("__main__", ModuleType("__main__"))


def start() -> None:
    """Have the process that others are forked from load, and do not wait for it."""
    CONTEXT.set_forkserver_preload([LOADED])
    with _no_main_module():
        forkserver.ensure_running()


def end_all() -> None:
    """End the forked processes at once, whatever they are at."""
    for process in multiprocessing.active_children():
        if isinstance(process, Worker):
            process.kill()
