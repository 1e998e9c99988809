"""Run one measuring program in a process of its own, on the cores that it may use."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

Cost = dict[str, Any]
"""What a program measured; `missing` alone, with the reason, where it could not run."""


def measure(program: str, *arguments: object, cores: tuple[int, ...]) -> Cost:
    """Return what a program of this folder printed as JSON; what it wrote last is removed."""
    cost = attempt(program, *arguments, cores=cores)
    for output in arguments[1:2]:
        if isinstance(output, Path):
            shutil.rmtree(output, ignore_errors=True)
            for left in output.parent.glob(f"{output.name}*"):
                left.unlink(missing_ok=True)
    reason = cost.get("missing", "")
    if "No module named" in reason:
        return {"missing": f"{reason.split()[-1]} is not installed: pip install miditok"}
    if reason:
        sys.exit(f"error: {program} failed: {reason}")
    return cost


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
