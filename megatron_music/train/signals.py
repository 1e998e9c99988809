"""Graceful shutdown on Ctrl-C and SIGTERM: finish the iteration, save, exit."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

from megatron_music.errors import TrainingError

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPING = "stopping: this iteration is finished and saved; Ctrl-C again ends at once"
SAME_SIGNAL_S = 1.0
"""Within this time a second Ctrl-C is the first one, forwarded by a launcher."""


class StoppedError(TrainingError):
    """A run that was stopped by a signal, with everything saved; raised on all ranks at once.

    Its exit code is what shells give a program that the signal ended: 130 after Ctrl-C, else 143.
    """

    def __init__(self, message: str, by_keyboard: bool) -> None:
        super().__init__(message)
        self.exit_code = 128 + (signal.SIGINT if by_keyboard else signal.SIGTERM)


class StopRequest:
    """Records the first signal while open, and reports it through `say`.

    Launchers often send a signal twice, so more of them change nothing; only a second Ctrl-C a
    while after the first stops at once. A thread answers: Python's handlers wait until the main
    thread comes back from compiled code, and an iteration may take minutes.
    """

    def __init__(self, say: Callable[[str], None] | None = None) -> None:
        self.signal_name = ""
        self._since = 0.0
        self._say = say
        self._before: dict[signal.Signals, Any] = {}
        self._reader, self._writer = socket.socketpair()
        self._wakeup = -1

    def __enter__(self) -> Self:
        """Install the signal handlers."""
        self._before = {number: signal.signal(number, self._remember) for number in SIGNALS}
        # Python requires it of a wakeup descriptor: the C handler must never wait.
        self._writer.setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._answer, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the signal handlers of before."""
        signal.set_wakeup_fd(self._wakeup)
        self._writer.close()  # ends the thread
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _answer(self) -> None:
        """Report what a signal does; end the process at a second Ctrl-C."""
        first_s = 0.0
        while number := self._reader.recv(1):
            if number[0] not in SIGNALS:
                continue
            now_s = time.monotonic()
            if not first_s:
                first_s = now_s
                self._tell(STOPPING)
            elif number[0] == signal.SIGINT and now_s - first_s > SAME_SIGNAL_S:
                time.sleep(SAME_SIGNAL_S)
                self._tell("ended at once; the last checkpoint stays")
                # The main thread may be inside compiled code, where no exception of ours reaches
                # it.
                os._exit(128 + signal.SIGINT)
        self._reader.close()

    def _tell(self, text: str) -> None:
        if self._say is not None:
            self._say(text)

    def agreed(
        self, total: Callable[[list[float]], list[float]], iteration: int
    ) -> StoppedError | None:
        """Return the error that stops the run if any rank has had a signal; a call of all ranks.

        `total` sums figures over the ranks.
        """
        wishes = [float(self.signal_name == name.name) for name in SIGNALS]
        # Every rank asks at every iteration: one that left alone would leave the others in a
        # collective.
        by_keyboard, by_others = (count > 0 for count in total(wishes))
        if not (by_keyboard or by_others):
            return None
        return StoppedError(
            f"stopped by {self.signal_name or 'a signal'} after iteration {iteration}, "
            "all saved; the same command resumes from there",
            by_keyboard,
        )

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        if not self.signal_name:
            self.signal_name, self._since = signal.Signals(number).name, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._since > SAME_SIGNAL_S:
            raise KeyboardInterrupt
