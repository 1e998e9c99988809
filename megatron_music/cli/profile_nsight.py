"""`profile nsight`: where the time of a capture went."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megatron_music.cli import show

if TYPE_CHECKING:
    from rich.table import Table

    from megatron_music.profiling.nsight.analyze import DeviceProfile, Profile
    from megatron_music.profiling.report.times import TracedSteps

UNWRAPPED = 120
"""Columns where no terminal says how many it has."""

NAME_WIDTH = 60
"""Kernels' names are templates of up to a thousand letters; --json gives them in full."""


def nsight(
    file: Annotated[
        Path,
        typer.Argument(
            help="An export of `nsys export --type sqlite`, or a run's trace.json.gz.",
            metavar="FILE",
        ),
    ],
    top: Annotated[int, typer.Option(min=0, help="Kernels listed for each device.")] = 5,
    iterations: Annotated[
        str | None,
        typer.Option(
            help="Names of the NVTX ranges that are one iteration; else `iteration 7`, `step 7`.",
            metavar="REGEX",
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="The run that was captured: adds TFLOP/s, and those of its log."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Show where the time of a capture by Nsight Systems or torch went, for each device.

    Example: `nsys export --type sqlite run.nsys-rep && megatron-music profile nsight run.sqlite`
    """
    from megatron_music.profiling.nsight.analyze import ITERATIONS
    from megatron_music.profiling.nsight.analyze import as_json as to_json
    from megatron_music.profiling.nsight.read import read_profile

    profile = read_profile(file, top, iterations or ITERATIONS)
    achieved = None if run is None else _achieved(profile, run)
    if as_json:
        found = to_json(profile)
        extra = {} if achieved is None else {"achieved": achieved}
        print(json.dumps(found | extra, indent=2))
        return
    _print(profile)
    if achieved is not None:
        from megatron_music.profiling.sweep.results import RANKED_BY

        logged = "its log does not tell"
        if (log_step_s := achieved["log_step_s"]) is not None:
            logged = f"{1000 * log_step_s:.1f} ms and {achieved['log_tflops']:.4g} by its log"
        print(
            f"{achieved['iterations']} iterations: {1000 * achieved['step_s']:.1f} ms and "
            f"{achieved['tflops']:.4g} TFLOP/s per device ({RANKED_BY}) by their ranges, {logged}"
        )


def _achieved(profile: "Profile", run: Path) -> "TracedSteps":
    """Return what the captured iterations achieved; raises InputError, RecipeError."""
    from megatron_music.config import load_recipe
    from megatron_music.costs.flops import recipe_shape
    from megatron_music.errors import InputError
    from megatron_music.profiling.nsight.read import OTHER_NAMES
    from megatron_music.profiling.report.times import compare
    from megatron_music.tokenizer.vocabulary import (
        TokenizerSettings,
        load_vocabulary,
        vocabulary_of,
    )
    from megatron_music.train.run_dir import RunDir

    folder, recipe = RunDir(run), load_recipe(str(run / "config.yaml"))
    # Runs of a sweep lose their tokenizer folder; their data have the default vocabulary.
    has_own = folder.tokenizer.is_dir()
    words = load_vocabulary(folder.tokenizer) if has_own else vocabulary_of(TokenizerSettings())
    shape = recipe_shape(recipe, len(words))
    traced = compare(profile, shape, len(profile.devices), folder)
    if traced is None:
        raise InputError(
            f"{profile.file} holds no NVTX ranges of iterations; capture a run with "
            "log.profile_step_start and log.profile_step_end, with nsys profile -t cuda,nvtx; "
            f"{OTHER_NAMES}"
        )
    return traced


def _print(profile: "Profile") -> None:
    from rich.console import Console

    from megatron_music.profiling.nsight.analyze import CLASSES

    classes = _table("Milliseconds by class of kernel", "device", *CLASSES)
    for device in profile.devices:
        classes.add_row(str(device.device), *(_ms(device.classes_ms[kind]) for kind in CLASSES))
    columns = ("device", "span ms", "busy", "idle", "communication ms", "hidden", "exposed ms")
    overview = _table("Where the time went", *columns)
    for device in profile.devices:
        overview.add_row(
            f"{device.device} {device.name or ''}".strip(),
            _ms(device.span_ms),
            _percent(device.busy_share),
            _percent(device.idle_share),
            _ms(device.communication_ms),
            _percent(device.communication_hidden_share),
            _ms(device.communication_exposed_ms),
        )
    tables = [overview, classes]
    if any(device.steps for device in profile.devices):
        tables.append(_steps(profile.devices))
    if any(device.top_kernels for device in profile.devices):
        tables.append(_kernels(profile.devices))
    console = Console() if sys.stdout.isatty() else Console(width=UNWRAPPED)
    for table in tables:
        console.print(table)
    for note in profile.notes:
        show.log(f"note: {note}")


def _steps(devices: "Iterable[DeviceProfile]") -> "Table":
    from statistics import fmean

    from megatron_music.profiling.nsight.analyze import durations_ms

    table = _table("Iterations", "device", "counted", "left out", "mean ms", "longest ms", "busy")
    table.add_column("exposed comm. ms", justify="right")
    table.add_column("inside, ms", justify="left")
    for device in devices:
        if device.steps is None:
            continue
        steps = device.steps["steps"]
        table.add_row(
            str(device.device),
            str(len(steps)),
            str(device.steps["dropped"]),
            _ms(device.steps["mean_ms"]),
            _ms(max(durations_ms(device))),
            _percent(fmean(step["busy_share"] for step in steps)),
            _ms(fmean(step["communication_exposed_ms"] for step in steps)),
            ", ".join(f"{name} {_ms(time)}" for name, time in device.steps["phases_ms"].items()),
        )
    return table


def _kernels(devices: "Iterable[DeviceProfile]") -> "Table":
    from rich.text import Text

    table = _table("Kernels with the longest summed time", "device", "total ms", "launches")
    table.add_column("class", justify="left")
    table.add_column("kernel", justify="left", no_wrap=True, overflow="ellipsis")
    for device in devices:
        for kernel in device.top_kernels:
            shown = "".join(letter if letter.isprintable() else "?" for letter in kernel["name"])
            name = Text(shown.removeprefix("void ").replace("at::native::", ""))
            name.truncate(NAME_WIDTH, overflow="ellipsis")
            total, count = _ms(kernel["total_ms"]), f"{kernel['count']:,}"
            table.add_row(str(device.device), total, count, kernel["class"], name)
        table.add_section()
    return table


def _table(title: str, first: str, *columns: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", title_style="bold"
    )
    table.add_column(first, justify="left")
    for column in columns:
        table.add_column(column, justify="right", min_width=len(column))
    return table


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
