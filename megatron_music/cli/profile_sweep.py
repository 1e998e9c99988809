"""`profile sweep` and `profile report`: which layout is the best one here."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megatron_music.cli import show
from megatron_music.errors import TrainingError, UsageError

if TYPE_CHECKING:
    from megatron_music.profiling.report.render import Report

GIB = 1 << 30
BEST = 5
"""Rows printed; the report has all."""

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600}


def sweep(
    path: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="As in profiling/sweeps/.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="For runs and report. [default: runs/profile-SWEEP]",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Stop after 90s, 30m or 2h with the best so far."),
    ] = None,
    nsys: Annotated[
        int | None,
        typer.Option(
            "--nsys", min=0, metavar="N", help="Then trace the best N with Nsight Systems."
        ),
    ] = None,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Order by a rehearsal of each, the best first.")
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="With --rehearse: show the order there, train nothing."),
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="With --device: how many.")
    ] = None,
) -> None:
    """Train a few iterations in every layout of a grid, and report what each one reaches.

    Killed or out of its budget, the same command goes on with what is left.

    `megatron-music profile sweep profiling/sweeps/cpu.yaml --budget 30m`

    `megatron-music profile sweep SWEEP.yaml --rehearse --device 'NVIDIA H200' --gpus 8`
    """
    from megatron_music.profiling.report.render import write_report
    from megatron_music.profiling.sweep.run import run_sweep

    if device is not None or gpus is not None:
        if not rehearse or device is None or gpus is None:
            raise UsageError("--rehearse, --device NAME and --gpus N belong together here")
        _show_order(path, device, gpus)
        return
    folder = output or Path("runs") / f"profile-{path.stem}"
    budget_s = None if budget is None else _seconds(budget)
    with show.progress("profile", "configurations") as progress:
        result = run_sweep(path, folder, budget_s, nsys, rehearse, show.say, progress)
    if result.left:
        show.say(f"the budget is spent, {result.left} left; the same command goes on with them")
    elif not result.fresh:
        show.say(f"{folder} holds every row: nothing to do; give another -o to measure again")
    if not result.rows:
        raise TrainingError(f"the budget of {budget} ended before any configuration; give more")
    _print(write_report(folder))


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a sweep.")],
    timelines: Annotated[
        list[str] | None,
        typer.Option(
            "--timeline", metavar="ROW", help="Show this row's timeline, not those of the best."
        ),
    ] = None,
) -> None:
    """Write the report of a sweep again, also while it is still at work.

    Example: `megatron-music profile report runs/profile-cpu`
    """
    from megatron_music.profiling.report.render import write_report

    _print(write_report(folder, timelines or []))


def _show_order(path: Path, device: str, gpus: int) -> None:
    """Print the configurations of a sweep on a machine that need not be there, the best first."""
    from megatron_music.profiling.sweep.run import rehearse_sweep

    for place, one in enumerate(rehearse_sweep(path, device, gpus, show.say), start=1):
        if one.found is None:
            print(f"-  {one.label}: {one.reason}")
            continue
        time, memory = one.found.time, one.found.fullest.memory
        print(
            f"{place}. {one.label}: {time.step_s:.4g} s/iteration, {time.tokens_per_s:,.0f} "
            f"tokens/s, {one.tflops:.4g} TFLOP/s per device, {memory.total / GIB:.1f} GiB"
        )


def _print(report: "Report") -> None:
    from megatron_music.profiling.sweep.results import RANKED_BY

    for place, one in enumerate(report.ran[:BEST], start=1):
        share = one.utilisation.get(RANKED_BY)
        print(
            f"{place}. {one.row.label}: {one.step_time_s:.4g} s/iteration, "
            f"{one.tokens_per_s:,.0f} tokens/s, {one.tflops[RANKED_BY]:.4g} TFLOP/s per device"
            + ("" if share is None else f", {share:.1%} of the peak ({RANKED_BY})")
        )
    print(f"report: {report.html}")
    if not report.ran:
        first = report.rest[0]
        raise TrainingError(
            f"no configuration ran, of {len(report.rest)}: {first.outcome}: {first.reason}"
        )


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if match is None:
        raise UsageError(f"the budget is not a time (got {text!r}); as in 90s, 30m or 2h")
    return float(match[1]) * _UNITS_S[match[2]]
