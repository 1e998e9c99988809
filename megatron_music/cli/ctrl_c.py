"""Ctrl-C that is not lost: the exception that it raises can be swallowed before anyone sees it.

Python drops an exception in a destructor or in a callback of a weak reference, and prints it. Then
the program would go on as if nothing had been asked of it.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_came = False


def watch() -> None:
    """Remember Ctrl-C from now on, unless the program was started with SIGINT ignored."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    signal.signal(signal.SIGINT, _remember)
    usual = sys.unraisablehook

    def hook(dropped: "sys.UnraisableHookArgs") -> None:
        # Of Ctrl-C the program itself prints a line.
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            usual(dropped)

    sys.unraisablehook = hook


def check() -> None:
    """Raise KeyboardInterrupt where Ctrl-C was pressed, also if that was swallowed before."""
    if _came:
        raise KeyboardInterrupt


@contextmanager
def as_end() -> Iterator[None]:
    """Take Ctrl-C as the ordinary end of the block."""
    global _came  # noqa: PLW0603 (as below)
    try:
        yield
    except KeyboardInterrupt:
        _came = False


def _remember(number: int, frame: FrameType | None) -> None:
    global _came  # noqa: PLW0603 (a signal handler has no other place)
    _came = True
    signal.default_int_handler(number, frame)
