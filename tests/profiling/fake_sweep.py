"""A sweep over the fake training, as a process that can be killed: SWEEP.yaml DIR [BUDGET_S]."""

import sys
from pathlib import Path

from megatron_music.costs.devices import Peak
from megatron_music.profiling.sweep import hardware, run, trial
from tests.profiling import fake_training

PEAK = Peak(2e-6, "measured", "a CPU")


def answer(work: object, *_: object) -> object:
    """Answer at once what a process with torch would find out."""
    return PEAK if work is hardware.measure_peak else ()


def main(words: list[str]) -> None:
    trial.train_command = fake_training.command
    hardware.run_in_subprocess = answer
    budget_s = float(words[2]) if len(words) > 2 else None
    run.run_sweep(Path(words[0]), Path(words[1]), budget_s)


if __name__ == "__main__":
    main(sys.argv[1:])
