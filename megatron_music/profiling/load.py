"""What a machine without GPUs does during a run: a line of JSON twice a second.

The figures are the whole machine's, so that other work on it is seen.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from megatron_music.errors import InputError

INTERVAL_S = 0.5


@dataclass(frozen=True)
class Load:
    """A machine at one moment; `time_s` is Unix time in seconds."""

    time_s: float
    cpu_percent: float
    """Of all cores, since the last look."""
    memory_used_bytes: int


class LoadRecorder:
    """Writes the load to a file when it is looked at, at most twice a second."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last_s = time.monotonic()
        psutil.cpu_percent()  # counts from here

    def look(self) -> None:
        """Write a line if one is due."""
        now = time.monotonic()
        if now - self._last_s < INTERVAL_S:
            return
        self._last_s = now
        load = Load(time.time(), psutil.cpu_percent(), psutil.virtual_memory().used)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(load)) + "\n")


def read_load(path: Path) -> list[Load]:
    """Return the lines of a recording, without one that was cut short; raises InputError."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as fault:
        raise InputError(f"cannot read {path}: {fault.strerror}; check the name") from fault
    return [load for load in map(_load, lines) if load is not None]


def _load(line: str) -> Load | None:
    try:
        return Load(**json.loads(line))
    except (ValueError, TypeError):
        return None
