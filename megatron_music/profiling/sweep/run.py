"""Run a sweep: measure every configuration of a grid; after a kill the same call resumes.

    DIR/rows.jsonl        a line a configuration, failed or not
    DIR/peaks.json        peaks that were measured here
    DIR/data/             random tokens
    DIR/runs/KEY/         a run's config.yaml, log.jsonl, output.txt, gpus.jsonl or load.jsonl
    DIR/captures/KEY/     what nsys traced of the best, if it was asked to

Rows are only ever added; the last one of a configuration counts.
"""

import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from megatron_music.costs.devices import dense_peak
from megatron_music.errors import TrainingError, UsageError
from megatron_music.files import file_lock
from megatron_music.profiling.sweep.capture import find_nsys, trace
from megatron_music.profiling.sweep.hardware import Peaks, detect_hardware
from megatron_music.profiling.sweep.results import Outcome, Row, append_row, best_first, read_rows
from megatron_music.profiling.sweep.spec import (
    Configuration,
    Sweep,
    expand,
    infeasible_reason,
    load_sweep,
    refusal_reason,
)
from megatron_music.profiling.sweep.subprocesses import ended_like_ctrl_c
from megatron_music.profiling.sweep.synthetic import synthetic_data
from megatron_music.profiling.sweep.trial import TrialContext, describe, measure
from megatron_music.progress import Progress, silent
from megatron_music.train.blend import Blend
from megatron_music.train.rehearsal.plan import Rehearsal, rehearse_on

LOCK_FILE = ".lock"
SKIPPED: Outcome = "skipped"


class Rehearsed(NamedTuple):
    """A configuration with what its rehearsal found, or the reason why it cannot run."""

    configuration: Configuration
    found: Rehearsal | None
    reason: str = ""

    @property
    def tflops(self) -> float:
        """Expected TFLOP/s of a device by `model_causal`, 0 for what cannot run."""
        return 0.0 if self.found is None else self.found.time.utilisation * self.found.peak_tflops


def run_sweep(
    path: Path,
    folder: Path,
    budget_s: float | None = None,
    captures: int | None = None,
    rehearse: bool = False,
    say: Callable[[str], None] = lambda _: None,
    progress: Progress = silent,
) -> tuple[int, int]:
    """Run the configurations of a sweep file that `folder` lacks, the likely best first.

    Returns how many this call measured and how many are left. It ends after `budget_s`; a run cut
    short by that leaves no row, so that the same call measures it again. `captures` of the best, by
    default as many as the sweep file says, are traced by nsys at the end. `rehearse` orders them by
    what a rehearsal on this machine's GPUs expects, not by the grid's heuristic. Raises InputError,
    UsageError, WriteError, MissingError, and TrainingError for a budget too short for any row.
    """
    if budget_s is not None and not budget_s > 0:
        raise UsageError(f"the budget has to be above 0 s (got {budget_s}); 30m is usual")
    sweep = load_sweep(path)
    if captures is not None:
        sweep = sweep.model_copy(update={"captures": captures})
        if captures:
            find_nsys()  # fail now rather than after the sweep
    with (
        file_lock(
            folder / LOCK_FILE,
            UsageError(f"another sweep is running in {folder}; wait for it, or give another -o"),
        ),
        ended_like_ctrl_c(),
    ):
        return _sweep(sweep, folder, budget_s, rehearse, say, progress)


def _sweep(
    sweep: Sweep,
    folder: Path,
    budget_s: float | None,
    rehearse: bool,
    say: Callable[[str], None],
    progress: Progress,
) -> tuple[int, int]:
    until = None if budget_s is None else time.monotonic() + budget_s
    machine = detect_hardware()
    most = len(machine.gpus) or machine.cores
    configurations = expand(sweep, most, machine.precisions[0])
    context = TrialContext(folder, machine, Peaks(folder, machine, say))
    for seq_length in {configuration.recipe.model.seq_length for configuration in configurations}:
        synthetic_data(context.data, seq_length)
    rows = {row.key: row for row in read_rows(folder)}
    possible = []
    for one in configurations:
        reason = infeasible_reason(one, machine)
        if reason is None:
            possible.append(one)
        elif one.key not in rows:
            append_row(folder, describe(one, context, SKIPPED, reason))
    todo = [one for one in possible if one.key not in rows or rows[one.key].outcome == SKIPPED]
    if rehearse:
        if not machine.gpus:
            raise UsageError(
                "--rehearse orders a sweep by what its GPU can do, and there is none; "
                "add --device NAME --gpus N to see the order for a machine that has"
            )
        gpu = machine.gpus[0].name
        todo = [one.configuration for one in rehearse_all(todo, gpu, context.data, say)]
    total, done = len(possible), len(possible) - len(todo)
    fresh = _run(todo, sweep, context, until, lambda at, note: progress(done + at, total, note))
    found = read_rows(folder)
    if not found:
        raise TrainingError(
            f"the budget of {budget_s:g} s ended before any configuration; give more"
        )
    if fresh:
        settle_peaks(found, context)
    # By TFLOP/s, which a peak does not change.
    best = [row.key for row in best_first(found)]
    known = {one.key: one for one in configurations}
    chosen = [known[key] for key in best if key in known][: sweep.captures]
    trace(chosen, context, until, sweep.timeout_s, say)
    return fresh, len(todo) - fresh


def settle_peaks(rows: Sequence[Row], context: TrialContext) -> None:
    """Measure again what peaks were measured; append the rows whose peak was too low."""
    # Other work on the machine lowers a measured peak: the better one counts.
    better = context.peaks.measure_again()
    for row in rows:
        peak = better.get((row.device, row.precision))
        if row.outcome == "ok" and peak and peak.tflops > (row.peak_tflops or 0):
            settled = replace(row, peak_tflops=peak.tflops, peak_source=peak.source)
            append_row(context.folder, settled)


def _run(
    todo: list[Configuration],
    sweep: Sweep,
    context: TrialContext,
    until: float | None,
    show: Callable[[int, str], None],
) -> int:
    """Measure configurations one after another while there is time; return how many.

    `show` is told how many are done, and what the current one does.
    """
    for fresh, configuration in enumerate(todo):
        left_s = sweep.timeout_s if until is None else until - time.monotonic()
        if left_s <= 0:
            return fresh
        title = configuration.label
        iterations = configuration.recipe.train.train_iters

        def note(done: int, at: int = fresh, text: str = f"/{iterations} of {title}") -> None:
            """Show the iteration of a run."""
            show(at, f"iteration {done}{text}")

        row = measure(configuration, context, min(sweep.timeout_s, left_s), note)
        # The budget ended the run, not its time limit, so it is not a result of the configuration.
        if row.outcome == "timeout" and left_s < sweep.timeout_s:
            return fresh
        append_row(context.folder, row)
        show(fresh + 1, f"{title}: {row.outcome}{row.reason and ', ' + row.reason}")
    return len(todo)


def rehearse_sweep(
    path: Path, device: str, gpus: int, say: Callable[[str], None]
) -> list[Rehearsed]:
    """Rehearse a sweep file on `gpus` of a device; see `rehearse_all`.

    Raises InputError and UsageError for a file or a device that cannot be used.
    """
    best = "bf16" if dense_peak(device, "bf16") else "fp16"
    configurations = expand(load_sweep(path), gpus, best)
    with TemporaryDirectory(prefix="rehearsal-") as scratch:
        return rehearse_all(configurations, device, Path(scratch), say, gpus)


def rehearse_all(
    configurations: Sequence[Configuration],
    device: str,
    data: Path,
    say: Callable[[str], None],
    gpus: int | None = None,
) -> list[Rehearsed]:
    """Rehearse each configuration on random tokens in `data`; return them by TFLOP/s.

    What cannot run comes last.

    It runs in a separate process without a GPU, which loads torch once. `gpus` is how many there
    are, where that is to be checked.
    """
    rehearsed: list[Rehearsed] = []
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_begin) as pool:
        for number, configuration in enumerate(configurations, start=1):
            one = pool.submit(_rehearse, configuration, device, data, gpus).result()
            rehearsed.append(one)
            result = one.reason or f"{one.tflops:.4g} TFLOP/s expected"
            say(f"rehearsed {number}/{len(configurations)}: {configuration.label}: {result}")
    return sorted(rehearsed, key=lambda one: one.tflops, reverse=True)


def _begin() -> None:
    """Leave Ctrl-C to the sweep, and the GPUs to its runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def _rehearse(configuration: Configuration, device: str, data: Path, gpus: int | None) -> Rehearsed:
    reason = None if gpus is None else refusal_reason(configuration, gpus)
    if reason is not None:
        return Rehearsed(configuration, None, reason)
    recipe = configuration.recipe
    blend = Blend.of(synthetic_data(data, recipe.model.seq_length))
    try:
        found = rehearse_on(recipe, blend, device, configuration.processes)
        return Rehearsed(configuration, found)
    except UsageError as fault:
        return Rehearsed(configuration, None, str(fault))
