"""Progress callbacks for lower layers."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """Called with the work done and the work in all; `note` is a short figure worth showing."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Report `done` of `total` units."""


def silent(done: int, total: int, note: str = "") -> None:
    """Show nothing."""


class Stage(Protocol):
    """Opens the progress of one long step."""

    def __call__(self, title: str, unit: str) -> AbstractContextManager[Progress]:
        """Return a context whose value reports how far the step is, counted in `unit`."""


@contextmanager
def silent_stage(title: str, unit: str) -> Iterator[Progress]:  # noqa: ARG001
    """Show nothing."""
    yield silent
