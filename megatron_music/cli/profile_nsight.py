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

    from megatron_music.profiling.nsight.result import DeviceProfile, Profile

UNWRAPPED = 120
"""Columns where no terminal says how many it has."""

NAME_WIDTH = 60
"""Kernels' names are templates of up to a thousand letters; --json gives them in full."""


def nsight(
    file: Annotated[
        Path,
        typer.Argument(
            help="An export of `nsys export --type sqlite`, or the CSV of `nsys stats`.",
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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Show where the time of an Nsight Systems capture went, for each device.

    Example: `nsys export --type sqlite run.nsys-rep && megatron-music profile nsight run.sqlite`
    """
    from megatron_music.profiling.nsight.read import read_profile
    from megatron_music.profiling.nsight.result import as_json as to_json
    from megatron_music.profiling.nsight.steps import ITERATIONS

    profile = read_profile(file, top, iterations or ITERATIONS)
    if as_json:
        print(json.dumps(to_json(profile), indent=2))
        return
    _print(profile)


def _print(profile: "Profile") -> None:
    from rich.console import Console

    tables = [_overview(profile.devices), _classes(profile.devices)]
    if any(device.steps for device in profile.devices):
        tables.append(_steps(profile.devices))
    if any(device.top_kernels for device in profile.devices):
        tables.append(_kernels(profile.devices))
    console = Console() if sys.stdout.isatty() else Console(width=UNWRAPPED)
    for table in tables:
        console.print(table)
    for note in profile.notes:
        show.say(f"note: {note}")


def _overview(devices: "Iterable[DeviceProfile]") -> "Table":
    columns = ("device", "span ms", "busy", "idle", "communication ms", "hidden", "exposed ms")
    table = _table("Where the time went", *columns)
    for device in devices:
        table.add_row(
            f"{_label(device)} {device.name or ''}".strip(),
            _ms(device.span_ms),
            _percent(device.busy_share),
            _percent(device.idle_share),
            _ms(device.communication_ms),
            _percent(device.communication_hidden_share),
            _ms(device.communication_exposed_ms),
        )
    return table


def _classes(devices: "Iterable[DeviceProfile]") -> "Table":
    from megatron_music.profiling.kernels import CLASSES

    table = _table("Milliseconds by class of kernel", "device", *CLASSES)
    for device in devices:
        table.add_row(_label(device), *(_ms(device.classes_ms[kind]) for kind in CLASSES))
    return table


def _steps(devices: "Iterable[DeviceProfile]") -> "Table":
    from statistics import fmean

    table = _table("Iterations", "device", "counted", "left out", "mean ms", "longest ms", "busy")
    table.add_column("exposed comm. ms", justify="right")
    table.add_column("inside, ms", justify="left")
    for device in devices:
        if device.steps is None:
            continue
        steps = device.steps.steps
        table.add_row(
            _label(device),
            str(len(steps)),
            str(device.steps.dropped),
            _ms(fmean(device.steps.durations_ms)),
            _ms(max(device.steps.durations_ms)),
            _percent(fmean(step.busy_share for step in steps)),
            _ms(fmean(step.communication_exposed_ms for step in steps)),
            ", ".join(f"{name} {_ms(time)}" for name, time in device.steps.phases_ms.items()),
        )
    return table


def _kernels(devices: "Iterable[DeviceProfile]") -> "Table":
    from rich.text import Text

    table = _table("Kernels with the longest summed time", "device", "total ms", "launches")
    table.add_column("class", justify="left")
    table.add_column("kernel", justify="left", no_wrap=True, overflow="ellipsis")
    for device in devices:
        for kernel in device.top_kernels:
            name = Text(_short(kernel.name))
            total = _ms(kernel.total_ms)
            table.add_row(_label(device), total, f"{kernel.count:,}", kernel.kind, name)
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


def _label(device: "DeviceProfile") -> str:
    return "all" if device.device is None else str(device.device)


def _short(name: str) -> str:
    plain = name.removeprefix("void ").replace("at::native::", "")
    return plain if len(plain) <= NAME_WIDTH else f"{plain[: NAME_WIDTH - 1]}…"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
