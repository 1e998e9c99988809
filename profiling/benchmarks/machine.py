"""Which machine and which versions a result was measured on."""

import os
import platform
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

PACKAGES = ("symusic", "numba", "numpy", "miditok", "pretty_midi", "joblib")


@dataclass(frozen=True)
class Machine:
    """`device` names it in a file's name, `text` describes it."""

    device: str
    text: str


def describe() -> Machine:
    cpu = _cpu()
    cores, memory = os.cpu_count(), psutil.virtual_memory().total / 2**30
    versions = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    return Machine(
        re.sub(r"[^a-z0-9]+", "-", f"{cores}x-{cpu}".lower()).strip("-"),
        f"{cores} cores of {cpu}, {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}; {versions}",
    )


def load_average() -> float:
    """Return the load of the last quarter of an hour: near the cores in use where it is quiet."""
    return os.getloadavg()[2]


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    named = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return named[1].strip() if named else platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"
