"""Run and measure one configuration; a failure is a row as well."""

import json
import shlex
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from megatron_music.errors import MusicError
from megatron_music.profiling.nvml.reader import MIG_REMARK
from megatron_music.profiling.nvml.recording import read_samples, record, summarize, total_energy_j
from megatron_music.profiling.sweep.hardware import LoadRecorder, Machine, Peaks
from megatron_music.profiling.sweep.results import Outcome, Row
from megatron_music.profiling.sweep.spec import Configuration
from megatron_music.profiling.sweep.subprocesses import (
    end_training,
    explain,
    run_group,
    train_command,
)
from megatron_music.profiling.sweep.synthetic import synthetic_data
from megatron_music.train.run_dir import RunDir, read_log

OUTPUT_FILE = "output.txt"
GPUS_FILE = "gpus.jsonl"
LOAD_FILE = "load.jsonl"
ENVIRONMENT_FILE = "environment.json"
"""The file in which a run describes its environment."""

BULKY = ("checkpoints", "cache", "tokenizer", "tensorboard")
"""Outputs of a run that its figures do not need."""

Note = Callable[[int], None]
"""Called with the number of iterations that a run has done."""


@dataclass(frozen=True)
class TrialContext:
    """Where configurations are measured: the sweep's folder, this machine, its peaks."""

    folder: Path
    machine: Machine
    peaks: Peaks

    @property
    def data(self) -> Path:
        """The folder of the data sets, one for each length."""
        return self.folder / "data"

    def run(self, configuration: Configuration) -> Path:
        """Return the folder of a configuration's run, absolute: its processes are known by it."""
        return (self.folder / "runs" / configuration.key).resolve()

    def data_of(self, configuration: Configuration) -> Path:
        """Return the data set whose documents are as long as the configuration's sequences."""
        return synthetic_data(self.data, configuration.recipe.model.seq_length).resolve()

    def command(self, configuration: Configuration) -> list[str]:
        """Return the training command of a configuration."""
        overrides = configuration.overrides
        if not self.machine.gpus:
            # On a CPU the run times its own phases; on a GPU Nsight Systems does, in another run.
            first, last = configuration.warmup_iters, configuration.recipe.train.train_iters
            phases = (f"log.profile_step_start={first}", f"log.profile_step_end={last}")
            overrides = (*overrides, *phases)
        return train_command(
            configuration.processes,
            configuration.base,
            self.data_of(configuration),
            self.run(configuration),
            overrides,
        )


class MeasureWindow:
    """Watches a run's log: when the warm-up ended, and when the last iteration did (Unix time)."""

    def __init__(self, run: RunDir, configuration: Configuration, note: Note) -> None:
        self.start_s: float | None = None
        self.end_s: float | None = None
        self._run = run
        self._warmup = configuration.warmup_iters
        self._total = configuration.recipe.train.train_iters
        self._note = note

    def poll(self) -> None:
        """Read the progress of the run."""
        done = len(read_log(self._run))
        if self.start_s is None and done >= max(1, self._warmup):
            self.start_s = time.time()
        if self.end_s is None and done >= self._total:
            self.end_s = time.time()
        self._note(done)


def describe(
    configuration: Configuration, context: TrialContext, outcome: Outcome, reason: str
) -> Row:
    """Return the row of a configuration without any figure."""
    environment = context.machine.environment(configuration.processes)
    settings = [f"{name}={value}" for name, value in environment.items()]
    command = " ".join([*settings, shlex.join(context.command(configuration))])
    return configuration.row(outcome, reason, command)


def measure(
    configuration: Configuration, context: TrialContext, timeout_s: float, note: Note
) -> Row:
    """Run a configuration from the start and return its row; a failed run is a row as well."""
    path = context.run(configuration)
    # The training of a sweep that was killed may still run and write into the same folder.
    end_training(str(path))
    shutil.rmtree(path, ignore_errors=True)
    RunDir(path).checkpoints.mkdir(parents=True)  # what makes it a run's folder
    window = MeasureWindow(RunDir(path), configuration, note)
    looks, remark, recording = [window.poll], "", None
    with ExitStack() as stack:
        if context.machine.gpus:
            gpus = [gpu.uuid for gpu in context.machine.gpus[: configuration.processes]]
            try:
                recording = stack.enter_context(record(path / GPUS_FILE, gpus))
            except MusicError as fault:  # measured without
                remark = str(fault)
        else:
            looks.append(LoadRecorder(path / LOAD_FILE).poll)
        code = run_group(
            context.command(configuration),
            context.machine.environment(configuration.processes),
            path / OUTPUT_FILE,
            timeout_s,
            looks,
        )
    window.poll()
    clear_bulk(path)
    if recording is not None:
        remark = recording.problem or ""
    row = _row(configuration, context, code, timeout_s, window)
    return replace(row, nvml_remark=remark) if remark else row


def clear_bulk(run: Path) -> None:
    """Remove the outputs of a run that its figures do not need."""
    for name in BULKY:
        shutil.rmtree(run / name, ignore_errors=True)


def _row(
    configuration: Configuration,
    context: TrialContext,
    code: int | None,
    timeout_s: float,
    window: MeasureWindow,
) -> Row:
    run = RunDir(context.run(configuration))
    entries = read_log(run)
    steps = {int(entry["iteration"]): float(entry["step_time_s"]) for entry in entries}
    total = configuration.recipe.train.train_iters
    if code is None:
        reason = f"took longer than {timeout_s:.0f} s; {len(steps)} of {total} iterations done"
        return describe(configuration, context, "timeout", reason)
    if code:
        output = (run.path / OUTPUT_FILE).read_text(encoding="utf-8", errors="replace")
        reason = explain(output, code)
        # Said by CUDA, by torch's allocator and by our own message alike.
        outcome: Outcome = "out of memory" if "out of memory" in reason else "failed"
        return describe(configuration, context, outcome, reason)
    if len(steps) < total:
        reason = f"its log holds {len(steps)} of {total} iterations"
        return describe(configuration, context, "failed", reason)
    peak = context.peaks.of(configuration.recipe.train.precision)
    row = replace(
        describe(configuration, context, "ok", ""),
        software=_software(run.path / ENVIRONMENT_FILE),
        device=peak.device,
        devices=context.machine.devices(configuration.processes),
        step_times_s=tuple(
            # The first iterations load kernels, and fp16 finds its loss scale in them.
            steps[step]
            for step in sorted(steps)
            if step > configuration.warmup_iters
        ),
        peak_tflops=peak.tflops,
        peak_source=peak.source,
        started_s=window.start_s,
        ended_s=window.end_s,
    )
    if not context.machine.gpus:
        # Add what a run on a CPU says of itself: its first process's phases and memory
        measured = [entry for entry in entries if entry["iteration"] > configuration.warmup_iters]
        phases = [entry.get("phases_s") or {} for entry in measured]
        names = dict.fromkeys(name for phase in phases for name in phase)
        held = [entry["memory_bytes"] for entry in measured if "memory_bytes" in entry]
        return replace(
            row,
            phases_s={name: fmean(phase.get(name, 0.0) for phase in phases) for name in names},
            memory_bytes=max(held, default=None),
        )
    return _with_hardware(row, run.path / GPUS_FILE, window)


def _software(environment: Path) -> str:
    try:
        found = json.loads(environment.read_text(encoding="utf-8"))
        parts = [f"{package} {version}" for package, version in found["versions"].items()]
        return ", ".join([*parts, f"attention by {found['attention']}"])
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return ""


def _with_hardware(row: Row, recording: Path, window: MeasureWindow) -> Row:
    """Add what NVML recorded between the warm-up and the last iteration, if anything."""
    try:
        _, gpus = summarize(read_samples(recording), window.start_s, window.end_s)
    except MusicError:
        return row
    # NVML's figures of a split GPU are those of all its parts: worse than none.
    if any(gpu.is_mig for gpu in gpus):
        return replace(row, nvml_remark=MIG_REMARK)
    memory = [gpu.max_memory_bytes for gpu in gpus if gpu.max_memory_bytes is not None]
    power = [gpu.mean_power_w for gpu in gpus if gpu.mean_power_w is not None]
    return replace(
        row,
        memory_bytes=max(memory, default=None),
        mean_power_w=fmean(power) if power else None,
        energy_j=total_energy_j(gpus),
    )
