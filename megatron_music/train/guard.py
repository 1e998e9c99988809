"""Stop a run whose loss has left the ground, before it costs more."""

import math
from collections import deque
from collections.abc import Iterable
from statistics import median

WINDOW = 20
"""Logged losses that say what is usual."""

PATIENCE = 3
"""So many in a row above it are a spike; one is a hard batch."""


class LossGuard:
    """Watches the logged losses; every rank comes to the same end from the same figures.

    `limit_nats` is how far above the median of the last losses a loss may lie, 0 for as far as it
    likes. What is not a number, or not a finite one, is always too much.
    """

    def __init__(self, limit_nats: float, earlier: Iterable[float] = ()) -> None:
        self._limit = limit_nats
        self._usual: deque[float] = deque(earlier, maxlen=WINDOW)
        self._above = 0

    def fault(self, loss: float) -> str:
        """Return what is wrong with a loss in the light of those before it, "" if nothing."""
        if not math.isfinite(loss):
            return f"the loss became {loss}"
        usual = median(self._usual) if len(self._usual) >= PATIENCE else math.inf
        if self._limit and loss > usual + self._limit:
            self._above += 1
        else:
            self._above = 0
            self._usual.append(loss)
        if self._above < PATIENCE:
            return ""
        return (
            f"the loss rose to {loss:.2f} and stayed more than train.loss_spike_nats="
            f"{self._limit:g} above the {usual:.2f} before, {PATIENCE} log lines in a row"
        )
