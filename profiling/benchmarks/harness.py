"""What the benchmarks share: the machine, a measuring process on chosen cores, the page's head."""

import datetime as dt
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from megatron_music.errors import MusicError
from megatron_music.evaluate.bootstrap import Estimate
from megatron_music.profiling.sweep.hardware import cpu_name

Cost = dict[str, Any]
"""What a process measured; `missing` alone, with the reason, where it could not run."""

SHARED_LOAD = 1.5
"""Above this load other work disturbs a measurement."""


class Machine(NamedTuple):
    """`device` names it in a file's name, `text` describes it."""

    device: str
    text: str


def describe(packages: tuple[str, ...], gpu: str = "") -> Machine:
    """Describe this machine and the packages that matter; a GPU, where it counts, names it."""
    cpu = cpu_name()
    installed = {one.name: one.version for one in metadata.distributions()}
    versions = ", ".join(f"{name} {installed.get(name, 'absent')}" for name in packages)
    return Machine(
        re.sub(r"[^a-z0-9]+", "-", (gpu or f"{os.cpu_count()}x-{cpu}").lower()).strip("-"),
        f"{f'{gpu}, ' if gpu else ''}{os.cpu_count()} cores of {cpu}, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB, {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}; {versions}",
    )


def head(title: str, packages: tuple[str, ...], gpu: str = "", cores: int = 1) -> str:
    """Begin a page: title, date, machine, load, command; others than `cores` work is a warning."""
    load = os.getloadavg()[2]
    shared = ": **a shared machine, take the ratios alone**" * (load > cores - 1 + SHARED_LOAD)
    return (
        f"# {title}\n\n{dt.date.today():%Y-%m-%d}, {describe(packages, gpu).text}. "
        f"Load average over the run's end: {load:.1f}{shared}.\n\n"
        f"    python profiling/benchmarks/{Path(sys.argv[0]).name} {' '.join(sys.argv[1:])}\n"
    )


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


def run(
    main: Callable[[], None], measured: Mapping[str, Callable[..., Cost]] | None = None
) -> None:
    """Run a benchmark, or with `--measure WHAT ...` print the cost of one measurement as JSON."""
    try:
        if measured and sys.argv[1:2] == ["--measure"]:
            print(json.dumps(measured[sys.argv[2]](*sys.argv[3:])))
        else:
            main()
    except MusicError as fault:
        print(f"error: {fault}", file=sys.stderr)
        sys.exit(fault.exit_code)
    except KeyboardInterrupt:
        sys.exit("interrupted; a page given by -o holds what was measured")


def span(of: Estimate) -> str:
    """Write a figure with its interval."""
    return f"{of.value:.3f} [{of.low:.3f}, {of.high:.3f}]"
