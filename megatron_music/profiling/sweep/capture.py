"""Run a configuration again under Nsight Systems, after it was measured without.

    DIR/captures/KEY/capture.nsys-rep    for Nsight Systems' own window
    DIR/captures/KEY/capture.sqlite      its export, which the report reads
    DIR/captures/KEY/run/, output.txt    the run: its log has the traced iterations' times

The capture holds the iterations between `cudaProfilerStart` and `cudaProfilerStop` alone, with
NVTX ranges for what they do (see `train/profiler.py`). Tracing costs time: no row's figures are of
a run under nsys.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from megatron_music.errors import MissingError
from megatron_music.profiling.sweep.spec import Configuration
from megatron_music.profiling.sweep.subprocesses import (
    end_training,
    explain,
    run_group,
    train_command,
)
from megatron_music.profiling.sweep.trial import OUTPUT_FILE, TrialContext, clear_bulk
from megatron_music.train.run_dir import RunDir

FOLDER = "captures"
EXPORT_FILE = "capture.sqlite"
REPORT_FILE = "capture.nsys-rep"
TRACED_ITERS = 5
"""The first and the last one are left out when the capture is read."""

EXPORT_TIMEOUT_S = 600.0


def find_nsys() -> str:
    """Return the path of nsys; raises MissingError."""
    found = shutil.which("nsys")
    if found is None:
        raise MissingError(
            "nsys is not on the path; install nsight-systems, or leave out --nsys and captures"
        )
    return found


def capture_file(folder: Path, key: str) -> Path:
    """Return the path of the export of a configuration's capture in a sweep's folder."""
    return folder / FOLDER / key / EXPORT_FILE


def capture_log(folder: Path, key: str) -> Path:
    """Return the run folder of a configuration's capture."""
    return folder / FOLDER / key / "run"


def profile_command(nsys: str, output: Path, command: Sequence[str]) -> list[str]:
    """Return the command under nsys, which traces it and its children between start and stop."""
    return [
        *(nsys, "profile", "-s", "none", "-t", "nvtx,cuda", "-o", str(output.with_suffix(""))),
        *("--force-overwrite", "true"),
        # Only from the engine's profiler start to its stop, without loading and warm-up.
        *("--capture-range=cudaProfilerApi", "--capture-range-end=stop"),
        *command,
    ]


def export_command(nsys: str, report: Path, output: Path) -> list[str]:
    """Return the command that makes an SQLite export of a report."""
    return [
        *(nsys, "export", "--type", "sqlite", "--force-overwrite", "true"),
        *("-o", str(output), str(report)),
    ]


def trace(
    chosen: Sequence[Configuration],
    context: TrialContext,
    until: float | None,
    timeout_s: float,
    say: Callable[[str], None],
) -> None:
    """Trace the configurations that are not traced yet, while there is time; report the outcome.

    `until` is a moment of the monotonic clock. What is in the way is a remark, never an error.
    """
    todo = [one for one in chosen if not capture_file(context.folder, one.key).is_file()]
    if not todo:
        return
    if not context.machine.gpus:
        say("no captures: nsys traces GPUs and there is none; the report tells phases instead")
        return
    try:
        nsys = find_nsys()
    except MissingError as fault:
        say(f"no captures: {fault}")
        return
    for configuration in todo:
        left_s = timeout_s if until is None else min(timeout_s, until - time.monotonic())
        if left_s <= 0:
            say("the budget is spent: no more captures; the same command makes them")
            return
        reason = capture(configuration, context, nsys, left_s)
        say(f"traced by nsys: {configuration.label}{reason and ': failed, ' + reason}")


def capture(
    configuration: Configuration, context: TrialContext, nsys: str, timeout_s: float
) -> str:
    """Trace a configuration and export the capture; return why it failed, "" if it did not."""
    export = capture_file(context.folder, configuration.key).resolve()
    run = capture_log(context.folder, configuration.key).resolve()
    # The training of a sweep that was killed may still run in this folder.
    end_training(str(run))
    shutil.rmtree(export.parent, ignore_errors=True)
    RunDir(run).checkpoints.mkdir(parents=True)
    report, output = export.with_name(REPORT_FILE), export.with_name(OUTPUT_FILE)
    training = train_command(
        configuration.processes,
        configuration.base,
        context.data_of(configuration),
        run,
        traced_overrides(configuration),
    )
    environment = context.machine.environment(configuration.processes)
    traced = profile_command(nsys, report, training)
    code = run_group(traced, environment, output, timeout_s)
    clear_bulk(run)
    if code is None:
        return f"took longer than {timeout_s:.0f} s"
    if code:
        return explain(output.read_text(encoding="utf-8", errors="replace"), code)
    if not report.is_file():
        return f"nsys wrote no {report.name}; see {output}"
    output = export.with_name("export.txt")
    code = run_group(export_command(nsys, report, export), {}, output, EXPORT_TIMEOUT_S)
    if code == 0 and export.is_file():
        return ""
    return f"nsys export ended with code {code}; see {output}"


def traced_overrides(configuration: Configuration) -> tuple[str, ...]:
    """Return the overrides of a configuration that trace a few iterations after the warm-up."""
    first = configuration.warmup_iters
    last = first + TRACED_ITERS
    return (
        *configuration.overrides,
        f"train.train_iters={last}",
        f"log.profile_step_start={first}",
        f"log.profile_step_end={last}",
    )
