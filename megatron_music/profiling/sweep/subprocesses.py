"""Run a training as a process group, and end all its processes."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from types import FrameType

import psutil

from megatron_music.train.launcher import RUN_DIR_OPTIONS

PROGRAM = "megatron_music"
RUN_OPTION = RUN_DIR_OPTIONS[0]
LOOK_S = 0.05
"""Seconds between two checks of a run."""

END_S = 10.0
"""How long the system is given to take away a killed process."""

_SPOKEN = re.compile(r"^(?:\[rank\d+\]:)?\s*error: (?P<reason>.+)$", re.MULTILINE)
_RAISED = re.compile(
    r"^(?:\[rank\d+\]:)?\s*(?P<reason>(?:\w+\.)*\w*(?:Error|Exception)\b.*)$", re.MULTILINE
)
_LAUNCHERS_OWN = "ChildFailedError"


def train_command(
    processes: int, recipe: str, data: Path, run: Path, overrides: Sequence[str]
) -> list[str]:
    """Return the command that trains a recipe with `processes` on this machine."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    training = training_words(recipe, data, run, overrides)
    return [*launcher, "--nproc-per-node", str(processes), *training]


def training_words(recipe: str, data: Path, run: Path, overrides: Sequence[str]) -> list[str]:
    """Return what Python or torchrun is given to train a recipe."""
    words = ["-m", PROGRAM, "train", recipe, "--data", str(data), RUN_OPTION, str(run)]
    return [*words, *overrides]


def run_group(
    command: Sequence[str],
    environment: Mapping[str, str],
    output: Path,
    timeout_s: float,
    looks: Sequence[Callable[[], None]] = (),
) -> int | None:
    """Run a training command to its end; return its exit code, None if its time ran out.

    Its output goes to `output`. `looks` are called every LOOK_S seconds. In every case all of the
    command's processes have ended when this returns.
    """
    until = time.monotonic() + timeout_s
    process = None
    try:
        with output.open("wb") as file:
            process = subprocess.Popen(
                command,
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the sweep, which then ends the run
            )
        while (code := process.poll()) is None:
            if time.monotonic() > until:
                return None
            for look in looks:
                look()
            time.sleep(LOOK_S)
        return code
    finally:
        # torchrun's workers have their own sessions, so killing the launcher's group misses
        # them.
        end_training(run_of(command))
        if process is not None:
            process.kill()
            process.wait()


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, its own processes with it.

    Raises KeyboardInterrupt for the first; more of them cannot disturb the clearing up. Only in
    a program's main thread, else without effect.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGHUP)

    def end(_number: int, _frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt once."""
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_of(command: Sequence[str]) -> str:
    """Return the run folder that a training command names, an empty text if it names none."""
    if PROGRAM not in command:
        return ""
    return next((value for option, value in pairwise(command) if option in RUN_DIR_OPTIONS), "")


def end_training(run: str) -> None:
    """End every process that trains this run folder, including those of a killed sweep.

    torchrun's workers have their own sessions, so they are found by their command line.
    """
    found = []
    for process in psutil.process_iter() if run else ():
        with suppress(psutil.Error):
            if run_of(process.cmdline()) == run:
                found.append(process)
    for process in found:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(found, timeout=END_S)


def explain(output: str, exit_code: int) -> str:
    """Return in one line why a run failed, from what it printed."""
    if spoken := _SPOKEN.search(output):
        return spoken["reason"].strip()
    raised = [match["reason"].strip() for match in _RAISED.finditer(output)]
    own = [reason for reason in raised if _LAUNCHERS_OWN not in reason]
    if own:
        return own[0]
    if re.search(r"exitcode\s*: -9\b", output) or exit_code == -9:
        return "a process was killed (signal 9); the machine may be out of memory"
    return f"ended with exit code {exit_code} and no output"
