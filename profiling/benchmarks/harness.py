"""What the benchmarks share: the machine, a measuring process on chosen cores, tables, an order."""

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import psutil

HERE = Path(__file__).parent
Cost = dict[str, Any]
"""What a program measured; `missing` alone, with the reason, where it could not run."""

Element = TypeVar("Element")

PACKAGES = ("symusic", "numba", "numpy", "miditok", "pretty_midi", "joblib")
SHARED_LOAD = 1.5
"""Above this load other work disturbs a measurement."""


@dataclass(frozen=True)
class Machine:
    """`device` names it in a file's name, `text` describes it, `gpu` is its GPU if that counts."""

    device: str
    text: str
    gpu: str = ""


def describe(packages: tuple[str, ...] = PACKAGES, gpu: str = "") -> Machine:
    """Describe this machine and the packages that matter; a GPU, where it counts, names it."""
    cpu = _cpu()
    cores, memory = os.cpu_count(), psutil.virtual_memory().total / 2**30
    versions = ", ".join(f"{name} {_version(name)}" for name in packages)
    return Machine(
        re.sub(r"[^a-z0-9]+", "-", (gpu or f"{cores}x-{cpu}").lower()).strip("-"),
        f"{f'{gpu}, ' if gpu else ''}{cores} cores of {cpu}, {memory:.0f} GiB, "
        f"{platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}; {versions}",
        gpu,
    )


def load_average() -> float:
    """Return the load of the last quarter of an hour: near the cores in use where it is quiet."""
    return os.getloadavg()[2]


def noise(load: float, cores: int = 1) -> str:
    """Say what follows a load: a warning where others worked here too."""
    shared = load > cores - 1 + SHARED_LOAD
    return ": **a shared machine, take the ratios alone**" if shared else ""


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


def attempt(program: str, *arguments: object, cores: tuple[int, ...], threads: int = 1) -> Cost:
    """Return what a program of this folder printed as JSON, or what it failed with."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(cores) & allowed or allowed)
    try:
        done = subprocess.run(
            [sys.executable, str(HERE / program), *map(str, arguments)],
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        os.sched_setaffinity(0, allowed)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        return {"missing": lines[-1]}
    figures: Cost = json.loads(done.stdout.splitlines()[-1])
    return figures


def spread(elements: Sequence[Element]) -> list[Element]:
    """Return all elements in an order whose every beginning is spread evenly over them."""
    golden = 0.618033988749895
    return [elements[i] for i in sorted(range(len(elements)), key=lambda i: i * golden % 1)]
