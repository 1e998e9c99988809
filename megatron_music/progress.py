"""How lower layers tell how far they are, without knowing who shows it."""

from typing import Protocol


class Progress(Protocol):
    """Called with the work done and the work in all; `note` is a short figure worth showing."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Report `done` of `total` units."""


def silent(done: int, total: int, note: str = "") -> None:
    """Report to nobody."""
