"""What the benchmarks share: the machine, a measuring process on chosen cores, the load."""

import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from megatron_music.evaluate.bootstrap import Estimate

Cost = dict[str, Any]
"""What a process measured; `missing` alone, with the reason, where it could not run."""

SHARED_LOAD = 1.5
"""Above this load other work disturbs a measurement."""


@dataclass(frozen=True)
class Machine:
    """`device` names it in a file's name, `text` describes it, `gpu` is its GPU if that counts."""

    device: str
    text: str
    gpu: str = ""


def describe(packages: tuple[str, ...], gpu: str = "") -> Machine:
    """Describe this machine and the packages that matter; a GPU, where it counts, names it."""
    info = Path("/proc/cpuinfo")
    named = info.is_file() and re.search(r"^model name\s*: (.+)$", info.read_text(), re.MULTILINE)
    cpu = named[1].strip() if named else platform.processor() or platform.machine()
    installed = {one.name: one.version for one in metadata.distributions()}
    versions = ", ".join(f"{name} {installed.get(name, 'absent')}" for name in packages)
    return Machine(
        re.sub(r"[^a-z0-9]+", "-", (gpu or f"{os.cpu_count()}x-{cpu}").lower()).strip("-"),
        f"{f'{gpu}, ' if gpu else ''}{os.cpu_count()} cores of {cpu}, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB, {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}; {versions}",
        gpu,
    )


def load_average(cores: int = 1) -> str:
    """Tell the load of the last quarter of an hour; warn where others than `cores` worked too."""
    load = os.getloadavg()[2]
    shared = load > cores - 1 + SHARED_LOAD
    return f"{load:.1f}{': **a shared machine, take the ratios alone**' if shared else ''}"


def attempt(*command: object, cores: tuple[int, ...], threads: int = 1) -> Cost:
    """Return what a Python program printed last as JSON, or what it failed with."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(cores) & allowed or allowed)  # a process inherits its parent's
    try:
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        os.sched_setaffinity(0, allowed)
    if done.returncode:
        return {"missing": (done.stderr.strip().splitlines() or ["no reason given"])[-1]}
    figures: Cost = json.loads(done.stdout.splitlines()[-1])
    return figures


def span(of: Estimate) -> str:
    """Write a figure with its interval."""
    return f"{of.value:.3f} [{of.low:.3f}, {of.high:.3f}]"
