"""Prove and measure on a GPU what has never run there, in one call of some minutes.

    make gpu-day                                           # data/bach, results in runs/gpu-day
    python -m profiling.gpu_day --only train sweep         # from the checkout's root
    python -m profiling.gpu_day --list

Without a GPU it is a dry run in small sizes.
"""

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from megatron_music.errors import DataError, MusicError
from megatron_music.profiling.sweep.hardware import Machine, detect_hardware
from megatron_music.profiling.sweep.subprocesses import ended_like_ctrl_c
from megatron_music.tokenizer.vocabulary import load_vocabulary
from profiling.benchmarks.harness import describe
from profiling.gpu_day import measures, trainings
from profiling.gpu_day.day import Day, Result, Section, run_day
from profiling.gpu_day.summary import Head, write_summary

ROOT = Path(__file__).resolve().parents[2]
TOTAL_S, DRY_TOTAL_S = 480.0, 3600.0


def no_clone(_: Day) -> str:
    """Say that no Megatron-LM was named."""
    return "" if os.environ.get("MEGATRON_LM") else "MEGATRON_LM names no clone of Megatron-LM"


SECTIONS = (
    Section("machine", "what `doctor` sees of a GPU", measures.machine, 10, 60),
    Section(
        "train",
        "kernels, fp16, bf16, composing, blends, fine-tuning, resuming, the Trainer",
        trainings.train, 40, 150,
    ),
    Section(
        "layouts", "NCCL, TP, PP, DP, sequence parallel, overlaps",
        trainings.layouts, 60, 150, trainings.no_second_device,
    ),
    Section("bench", "`make bench-train`", measures.bench, 60, 170),
    Section("where", "ranges and kernel classes on a GPU", measures.where, 35, 70),
    Section("nvml", "NVML beside nvidia-smi", measures.nvml, 45, 75, measures.no_gpu),
    Section(
        "sweep", "estimated memory and utilisation; sweeps; nsys where it is installed",
        measures.sweep, 40, 140,
    ),
    Section("sample", "composing on a GPU, beside a CPU", measures.sample, 25, 60),
    Section("megatron-lm", "`launch/megatron_lm.sh`", measures.stock, 30, 120, no_clone),
    Section("tests", "the tests of training", measures.tests, 40, 150, measures.no_tests),
)  # fmt: skip


def main() -> int:
    """Run the day that the command line asks for; 1 where a section failed."""
    arguments = _arguments()
    if arguments.list:
        for one in SECTIONS:
            print(f"{one.name:12} {one.proves} ({one.needs_s:.0f} to {one.limit_s:.0f} s)")
        return 0
    try:
        load_vocabulary(arguments.data / "tokenizer")
        machine = detect_hardware()
    except DataError as fault:
        print(f"error: {fault}; make one: make data", file=sys.stderr)
        return 1
    except MusicError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1
    return _run(arguments, machine)


def _run(arguments: argparse.Namespace, machine: Machine) -> int:
    begin = time.monotonic()
    output = arguments.output.resolve()
    shutil.rmtree(output / "logs", ignore_errors=True)
    (output / "logs").mkdir(parents=True)
    head = _head(machine)
    kept: list[Result] = []
    pages: list[Path] = []
    with tempfile.TemporaryDirectory(prefix="gpu-day-") as work, ended_like_ctrl_c():
        day = Day(
            root=ROOT,
            output=output,
            work=Path(work),
            data=arguments.data.resolve(),
            machine=machine,
            model=arguments.model and arguments.model.resolve(),
            until=begin + (arguments.total or (DRY_TOTAL_S if head.is_dry else TOTAL_S)),
            python=sys.executable,
        )

        def keep(so_far: Sequence[Result]) -> None:
            kept[:] = so_far
            pages[:] = [write_summary(head, so_far, time.monotonic() - begin, output)]

        with suppress(KeyboardInterrupt):  # what was measured is kept
            run_day(day, SECTIONS, arguments.only or (), _say, keep)
    for page in pages:
        _tell(page, arguments.results, head.is_dry)
    if len(kept) < len(SECTIONS):
        return 128 + signal.SIGINT
    return int(any(one.outcome == "failed" for one in kept))


def _tell(page: Path, results: Path, is_dry: bool) -> None:
    """Say where the page is; that of a GPU goes to the results."""
    if is_dry:
        _say(f"a dry run, without a GPU: {page}")
        return
    results.mkdir(parents=True, exist_ok=True)
    final = results / page.name
    if final.resolve() != page.resolve():
        shutil.copy(page, final)
    _say(f"send this file: {final}")


def _head(machine: Machine) -> Head:
    gpu = ", ".join(
        f"{[one.name for one in machine.gpus].count(name)} x {name}"
        for name in dict.fromkeys(one.name for one in machine.gpus)
    )
    told = describe(measures.PACKAGES, gpu)
    return Head(
        date=datetime.now(UTC).date().isoformat(),
        device=told.device,
        machine=told.text,
        command=shlex.join(["python", "-m", "profiling.gpu_day", *sys.argv[1:]]),
        commit=_commit(),
        is_dry=not machine.gpus,
    )


def _commit() -> str:
    with suppress(OSError, subprocess.CalledProcessError):
        command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.strip()
    return "unknown"


def _say(line: str) -> None:
    print(f"gpu-day: {line}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gpu_day", description=(__doc__ or "").splitlines()[0])
    names = [one.name for one in SECTIONS]
    add = parser.add_argument
    add("--data", type=Path, default=Path("data/bach"), help="a data set folder")
    add("--model", type=Path, help="an exported model to compose with, else one made here")
    add("-o", "--output", type=Path, default=Path("runs/gpu-day"), help="logs and summary")
    add("--results", type=Path, help="for the page, else profiling/results of a git checkout")
    add("--total", type=float, help=f"seconds in all, else {TOTAL_S:.0f}")
    add("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    add("--list", action="store_true", help="list the sections")
    arguments = parser.parse_args()
    if arguments.results is None:
        kept = ROOT / "profiling" / "results"
        arguments.results = kept if (ROOT / ".git").exists() else arguments.output
    return arguments


if __name__ == "__main__":
    sys.exit(main())
