"""A sweep over the fake training, as a process that can be killed: SWEEP.yaml DIR [BUDGET_S]."""

import sys
from pathlib import Path

from megatron_music.profiling import devices, measure, sweep
from megatron_music.profiling.gemm import GemmPeak
from tests.profiling import fake_training

PEAK = GemmPeak(tflops=2e-6, size=8, precision="fp32", device="a CPU", threads=2, seconds=0.1)


def answer(work: object, *_: object) -> object:
    """Answer at once what a process with torch would find out."""
    return PEAK if work is devices.measure_peak else ()


def main(words: list[str]) -> None:
    measure.train_command = fake_training.command
    devices._in_a_process = answer
    budget_s = float(words[2]) if len(words) > 2 else None
    sweep.run_sweep(Path(words[0]), Path(words[1]), budget_s)


if __name__ == "__main__":
    main(sys.argv[1:])
