"""`profile nvml`: what the GPUs do right now."""

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from megatron_music.profiling.nvml.reader import DeviceSample, Reader, Sample

WIDTH = 120
"""Columns where no terminal says how many it has."""

MIB = 1 << 20


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
    from megatron_music.profiling.nvml.reader import open_nvml

    with open_nvml(slow=True) as reader, suppress(KeyboardInterrupt):
        if as_json:
            _stream(reader, interval, once)
        elif once:
            _console().print(_table(reader.sample()))
        else:
            _watch(reader, interval)


def _stream(reader: "Reader", interval: float, once: bool) -> None:
    from megatron_music.profiling.nvml.reader import to_json

    while True:
        print(to_json(reader.sample()), flush=True)
        if once:
            return
        time.sleep(interval)


def _watch(reader: "Reader", interval: float) -> None:
    from rich.live import Live

    console = _console()
    with Live(_table(reader.sample()), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(interval)
            live.update(_table(reader.sample()), refresh=True)


def _console() -> "Console":
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=WIDTH)


def _table(sample: "Sample") -> "Table":
    from rich import box
    from rich.table import Table

    from megatron_music.profiling.nvml.reader import MIG_REMARK

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("GPU")
    for title in ("use", "memory MiB", "power W", "SM clock", "temp."):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("clocks held down by")
    for device in sample.devices:
        table.add_row(f"{device.index} {device.name or ''}".strip(), *_cells(device))
    if any(device.mig_uuids is not None for device in sample.devices):
        table.caption = f"MIG: {MIG_REMARK}"
    return table


def _cells(device: "DeviceSample") -> tuple[str, ...]:
    if device.lost:
        return ("LOST",)
    return (
        "MIG" if device.mig_uuids is not None else _text(device.gpu_utilization, "%"),
        f"{_mib(device.memory_used_bytes)} / {_mib(device.memory_total_bytes)}",
        f"{_text(_rounded(device.power_w))} / {_text(_rounded(device.power_limit_w))}",
        _text(device.sm_clock_mhz, " MHz"),
        _text(device.temperature_c, " C"),
        "-" if device.throttle_reasons is None else ", ".join(device.throttle_reasons),
    )


def _text(value: int | None, unit: str = "") -> str:
    return "-" if value is None else f"{value}{unit}"


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)


def _mib(value: int | None) -> str:
    return "-" if value is None else f"{value // MIB}"
