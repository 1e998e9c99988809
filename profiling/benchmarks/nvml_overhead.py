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
NOISE = 0.05
"""Above this spread the machine does other things: what work loses cannot be told."""


def products(seconds: float) -> float:
    """Return products of matrices done in a second of this process's own CPU time."""
    matrix = np.ones((256, 256), np.float32)
    begin, begin_own, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - begin < seconds:
        matrix @ matrix
        done += 1
    return done / (time.process_time() - begin_own)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stub", action="store_true", help="no driver: the tests' stand-in")
    parser.add_argument("--gpus", type=int, default=16, help="GPUs of the stand-in")
    parser.add_argument("--turns", type=int, default=8)
    options = parser.parse_args()
    losses, shares = [], []
    with tempfile.TemporaryDirectory() as folder:
        if options.stub:  # in the place of the driver's library, for processes started from here
            library = Path(folder) / "libnvidia-ml.so.1"
            build = ["/usr/bin/env", "cc", "-shared", "-fPIC", "-o", library, STUB]
            subprocess.run(build, check=True)
            os.environ |= {"LD_LIBRARY_PATH": folder, "STUB_GPUS": str(options.gpus)}
        products(0.5)
        for _ in range(options.turns):
            alone = products(TURN_S)
            with record(Path(folder) / "gpus.jsonl") as recording:
                recorder = psutil.Process(recording.pid)
                before, begin = sum(recorder.cpu_times()[:2]), time.perf_counter()
                losses.append(1 - products(TURN_S) / alone)
                used_s = sum(recorder.cpu_times()[:2]) - before
                shares.append(used_s / (time.perf_counter() - begin))
    where = f"stub of the driver with {options.gpus} GPUs, CPU" if options.stub else "this driver"
    cores, share = len(os.sched_getaffinity(0)), fmean(shares)
    is_noisy = max(losses) - min(losses) > NOISE
    lost = "too unsteady here to be told" if is_noisy else f"{median(losses):.2%}"
    print(
        f"NVML recorder at {1 / INTERVAL_S:.0f} Hz ({where}): {share:.2%} of one core, "
        f"{share / cores:.2%} of {cores}; lost by work beside it: {lost} "
        f"({options.turns} turns, from {min(losses):.2%} to {max(losses):.2%})"
    )


if __name__ == "__main__":
    main()
