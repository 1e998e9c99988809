"""What recording NVML costs a run: the recorder's own CPU time, and what work beside it loses.

    python profiling/benchmarks/nvml_overhead.py               # on GPUs, their driver
    python profiling/benchmarks/nvml_overhead.py --stub [--gpus 16]

With --stub the tests' stand-in for libnvidia-ml.so.1 answers: then the cost of the driver's own
answers is not in the figures. The work is matrix products of one thread, on the CPU, in turns with
and without the recorder, by its own CPU time, so that other work on the machine disturbs little;
the recorder's time is what the system counted for its process.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import fmean, median

import numpy as np
import psutil

from megatron_music.profiling.nvml.recorder import INTERVAL_S, record

STUB = Path(__file__).parents[2] / "tests" / "profiling" / "nvml_stub.c"
TURN_S = 5.0
WIDTH = 256
NOISE = 0.05
"""Above this spread the machine does other things: what work loses cannot be told."""


def products(seconds: float) -> float:
    """Return products of matrices done in a second of this process's own CPU time."""
    matrix = np.ones((WIDTH, WIDTH), np.float32)
    begin, begin_own, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - begin < seconds:
        matrix @ matrix
        done += 1
    return done / (time.process_time() - begin_own)


def recorded(folder: Path, seconds: float) -> tuple[float, float]:
    """Return products a CPU second beside a recorder, and the share of one core that it took."""
    with record(folder / "gpus.jsonl") as recording:
        recorder = psutil.Process(recording.pid)
        before, begin = sum(recorder.cpu_times()[:2]), time.perf_counter()
        rate = products(seconds)
        used_s = sum(recorder.cpu_times()[:2]) - before
        return rate, used_s / (time.perf_counter() - begin)


def use_stub(folder: Path, gpus: int) -> None:
    """Put the stand-in into the place of the driver's library, for processes started from here."""
    library = folder / "libnvidia-ml.so.1"
    compiler = shutil.which("gcc") or "cc"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, STUB], check=True)
    os.environ["LD_LIBRARY_PATH"] = str(folder)
    os.environ["STUB_GPUS"] = str(gpus)


def main() -> None:
    """Measure and print a line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--stub", action="store_true", help="no driver: the tests' stand-in")
    parser.add_argument("--gpus", type=int, default=16, help="GPUs of the stand-in")
    parser.add_argument("--turns", type=int, default=8)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if asked.stub:
            use_stub(folder, asked.gpus)
        products(0.5)
        losses, shares = [], []
        for _ in range(asked.turns):
            alone = products(TURN_S)
            rate, share = recorded(folder, TURN_S)
            losses.append(1 - rate / alone)
            shares.append(share)
    where = f"stub of the driver with {asked.gpus} GPUs, CPU" if asked.stub else "this driver"
    cores = len(os.sched_getaffinity(0))
    spread = f"{asked.turns} turns, from {min(losses):.2%} to {max(losses):.2%}"
    is_noisy = max(losses) - min(losses) > NOISE
    lost = "too unsteady here to be told" if is_noisy else f"{median(losses):.2%}"
    print(
        f"NVML recorder at {1 / INTERVAL_S:.0f} Hz ({where}): {fmean(shares):.2%} of one core, "
        f"{fmean(shares) / cores:.2%} of {cores}; lost by work beside it: {lost} ({spread})"
    )


if __name__ == "__main__":
    main()
