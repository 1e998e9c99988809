"""Run a program with a time limit; what it prints goes to a log, and no process is left."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

WAIT_S = 0.05
TAIL_BYTES = 4000


@dataclass(frozen=True)
class Done:
    """How a program ended; `code` is None where its time ran out."""

    code: int | None
    seconds: float
    log: Path

    @property
    def output(self) -> str:
        """What it printed, stderr among it."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def fault(self) -> str:
        """Why it failed, in a line; empty if it did not."""
        if self.code == 0:
            return ""
        if self.code is None:
            return f"took longer than {self.seconds:.0f} s"
        lines = [line.strip() for line in self.output[-TAIL_BYTES:].splitlines() if line.strip()]
        told = [line for line in lines if line.startswith("error:")] or lines
        return f"exit code {self.code}: {told[-1] if told else 'no output'}"


def run(
    command: Sequence[str],
    log: Path,
    left_s: Callable[[], float],
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> Done:
    """Run a program in a folder, in a session of its own, while `left_s` is above 0."""
    begin = time.monotonic()
    with started(command, log, folder, environment) as process:
        while process.poll() is None and left_s() > 0:
            time.sleep(WAIT_S)
        code = process.poll()
    return Done(code, time.monotonic() - begin, log)


@contextmanager
def started(
    command: Sequence[str], log: Path, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program beside others; at the end of the block it is killed with its children."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and all that it started."""
    with suppress(psutil.Error):
        children = psutil.Process(process.pid).children(recursive=True)
        for one in children:
            with suppress(psutil.Error):
                one.kill()
    process.kill()
    process.wait()
