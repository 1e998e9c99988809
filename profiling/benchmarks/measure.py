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
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(cores) & allowed or allowed)
    try:
        done = subprocess.run(
            [sys.executable, str(HERE / program), *map(str, arguments)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        os.sched_setaffinity(0, allowed)
    for output in arguments[1:2]:
        if isinstance(output, Path):
            shutil.rmtree(output, ignore_errors=True)
            for left in output.parent.glob(f"{output.name}*"):
                left.unlink(missing_ok=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        if "No module named" in lines[-1]:
            return {"missing": f"{lines[-1].split()[-1]} is not installed: pip install miditok"}
        sys.exit(f"error: {program} failed: {lines[-1]}")
    figures: Cost = json.loads(done.stdout.splitlines()[-1])
    return figures
