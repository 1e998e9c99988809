"""`megatron-music profile`: what a configuration costs."""

import json
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megatron_music.cli import ctrl_c, profile_nsight, show
from megatron_music.errors import TrainingError, UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from megatron_music.profiling.nvml.reader import Sample
    from megatron_music.profiling.report.render import Report

WIDTH = 120
"""Columns where no terminal says how many it has."""

MIB, GIB = 1 << 20, 1 << 30
BEST = 5
"""Rows printed; the report has all."""

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600}

app = typer.Typer(help="What a configuration costs, and what the hardware does.")
app.command("nsight")(profile_nsight.nsight)


@app.command()
def nvml(
    interval: Annotated[
        float, typer.Option(min=0.02, help="Seconds between two looks.", metavar="SECONDS")
    ] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each look.")
    ] = False,
) -> None:
    """Watch the GPUs: use, memory, power, clocks and what holds those down.

    Utilisation says that some kernel ran, not how well: for that see `profile nsight`. Ctrl-C ends.

    Example: `megatron-music profile nvml --json --interval 0.1 > gpus.jsonl`
    """
    from megatron_music.profiling.nvml.reader import open_nvml, to_json

    # A person looks once a second, so that queries of 20 ms do not matter.
    with open_nvml(slow=True) as reader, ctrl_c.as_end():
        if as_json:
            while True:
                ctrl_c.check()
                print(to_json(reader.sample()), flush=True)
                if once:
                    return
                time.sleep(interval)
        elif once:
            _console().print(_gpu_table(reader.sample()))
        else:
            from rich.live import Live

            console = _console()
            with Live(_gpu_table(reader.sample()), console=console, auto_refresh=False) as live:
                while True:
                    ctrl_c.check()
                    time.sleep(interval)
                    live.update(_gpu_table(reader.sample()), refresh=True)


def _console() -> "Console":
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=WIDTH)


def _gpu_table(sample: "Sample") -> "Table":
    from rich import box
    from rich.table import Table

    from megatron_music.profiling.nvml.reader import MIG_REMARK

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("GPU")
    for title in ("use", "memory MiB", "power W", "SM clock", "temp."):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("clocks held down by")
    for device in sample.devices:
        name, reasons = f"{device.index} {device.name or ''}".strip(), device.throttle_reasons
        if device.lost:
            table.add_row(name, "LOST")
            continue
        table.add_row(
            name,
            "MIG" if device.mig_uuids is not None else _text(device.gpu_utilization, "%"),
            f"{_mib(device.memory_used_bytes)} / {_mib(device.memory_total_bytes)}",
            f"{_text(_rounded(device.power_w))} / {_text(_rounded(device.power_limit_w))}",
            _text(device.sm_clock_mhz, " MHz"),
            _text(device.temperature_c, " C"),
            "-" if reasons is None else ", ".join(reasons),
        )
    if any(device.mig_uuids is not None for device in sample.devices):
        table.caption = f"MIG: {MIG_REMARK}"
    return table


def _text(value: int | None, unit: str = "") -> str:
    return "-" if value is None else f"{value}{unit}"


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)


def _mib(value: int | None) -> str:
    return "-" if value is None else f"{value // MIB}"


@app.command()
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

    Killed or out of its budget, the same command resumes.

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
    budget_s = None if budget is None else budget_seconds(budget)
    with show.progress("profile", "configurations") as progress:
        fresh, left = run_sweep(path, folder, budget_s, nsys, rehearse, show.log, progress)
    if left:
        show.log(f"the budget is spent, {left} left; the same command runs them")
    elif not fresh:
        show.log(f"{folder} holds every row: nothing to do; give another -o to measure again")
    _print_report(write_report(folder))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a sweep.")],
    timelines: Annotated[
        list[str] | None,
        typer.Option(
            "--timeline", metavar="ROW", help="Show this row's timeline, not those of the best."
        ),
    ] = None,
) -> None:
    """Write the report of a sweep again, also during the sweep.

    Example: `megatron-music profile report runs/profile-cpu`
    """
    from megatron_music.profiling.report.render import write_report

    _print_report(write_report(folder, timelines or []))


def _show_order(path: Path, device: str, gpus: int) -> None:
    """Print the configurations of a sweep on a machine that need not be there, the best first."""
    from megatron_music.profiling.sweep.run import rehearse_sweep

    for place, one in enumerate(rehearse_sweep(path, device, gpus, show.log), start=1):
        configuration, found, reason = one
        if found is None:
            print(f"-  {configuration.label}: {reason}")
            continue
        time, memory = found.time, found.fullest.memory
        print(
            f"{place}. {configuration.label}: {time.step_s:.4g} s/iteration, "
            f"{time.tokens_per_s:,.0f} tokens/s, {one.tflops:.4g} TFLOP/s per device, "
            f"{memory.total / GIB:.1f} GiB"
        )


def _print_report(report: "Report") -> None:
    from megatron_music.profiling.sweep.results import RANKED_BY

    for place, row in enumerate(report.ran[:BEST], start=1):
        share = row.utilisation()
        print(
            f"{place}. {row.label}: {row.step_time_s:.4g} s/iteration, "
            f"{row.tokens_per_s:,.0f} tokens/s, {row.tflops():.4g} TFLOP/s per device"
            + ("" if share is None else f", {share:.1%} of the peak ({RANKED_BY})")
        )
    print(f"report: {report.html}")
    if not report.ran:
        first = report.rest[0]
        raise TrainingError(
            f"no configuration ran, of {len(report.rest)}: {first.outcome}: {first.reason}"
        )


def budget_seconds(text: str) -> float:
    """Return the seconds of a budget such as 90s, 30m or 2h; raises UsageError for no time."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if match is None:
        raise UsageError(f"the budget is not a time (got {text!r}); as in 90s, 30m or 2h")
    return float(match[1]) * _UNITS_S[match[2]]


@app.command()
def flops(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or the path of a .yaml.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="As in model.num_layers=4.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For a machine to read.")] = False,
) -> None:
    """Count the FLOPs of one iteration by three formulas, over the default vocabulary.

    `megatron-music profile flops article model.seq_length=4096 --json`
    """
    from megatron_music.config import load_recipe
    from megatron_music.costs import flops as costs
    from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary

    size = len(Vocabulary(TokenizerSettings()))
    shape = costs.recipe_shape(load_recipe(recipe, overrides or []), size)
    figures = {
        "equation3": costs.equation3(shape),
        "model": costs.model(shape),
        "model_causal": costs.model_causal(shape),
        "padded_vocab_size": shape.padded_vocab_size,
        "tokens": shape.global_batch_size * shape.seq_length,
    }
    if as_json:
        print(json.dumps(figures))
        return
    for name in ("equation3", "model", "model_causal"):
        print(f"{name:12}  {figures[name]:.4e} FLOPs an iteration")
