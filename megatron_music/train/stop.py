"""Ctrl-C and SIGTERM as a wish: the iteration is finished and saved first."""

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

from megatron_music.errors import TrainingError

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAME_SIGNAL_S = 1.0
"""Ctrl-C again within this time is the same Ctrl-C, forwarded by a launcher."""


class StoppedError(TrainingError):
    """A run that was stopped by a signal, with everything saved; all ranks meet it together.

    Its exit code is what shells give a program that the signal ended: 130 after Ctrl-C, else 143.
    """

    def __init__(self, message: str, by_keyboard: bool) -> None:
        super().__init__(message)
        self.exit_code = 128 + (signal.SIGINT if by_keyboard else signal.SIGTERM)


class StopRequest:
    """While open, remembers the first signal.

    Launchers often send a signal twice, so more of them change nothing; only a second Ctrl-C a
    while after the first stops at once.
    """

    def __init__(self) -> None:
        self.signal_name = ""
        self._since = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Take over the handlers."""
        self._before = {number: signal.signal(number, self._remember) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        """Give the handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def agreed(
        self, total: Callable[[list[float]], list[float]], iteration: int
    ) -> StoppedError | None:
        """Return what ends the run where any rank has had a signal; all ranks ask together.

        `total` sums figures over the ranks.
        """
        wishes = [float(self.signal_name == name.name) for name in SIGNALS]
        by_keyboard, by_others = (count > 0 for count in total(wishes))
        if not (by_keyboard or by_others):
            return None
        return StoppedError(
            f"stopped by {self.signal_name or 'a signal'} after iteration {iteration}, "
            "all saved; the same command goes on from there",
            by_keyboard,
        )

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        if not self.signal_name:
            self.signal_name, self._since = signal.Signals(number).name, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._since > SAME_SIGNAL_S:
            raise KeyboardInterrupt
