"""`profile nvml`: what the GPUs do right now."""

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from megatron_music.profiling.nvml.board import Board
    from megatron_music.profiling.nvml.reader import Reader
    from megatron_music.profiling.nvml.sample import DeviceSample, Sample

WIDTH = 120
"""Columns where no terminal says how many it has."""

WIDE = 114
"""From so many columns on clocks and what holds them down have room."""

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
    """Watch the GPUs as nvidia-smi shows them, with their clocks and what holds those down.

    Utilisation says that some kernel ran, not how well: for that see `profile nsight`. Ctrl-C ends.

    Example: `megatron-music profile nvml --json --interval 0.1 > gpus.jsonl`
    """
    from megatron_music.profiling.nvml.reader import open_nvml

    with open_nvml(slow=True) as reader, suppress(KeyboardInterrupt):
        if as_json:
            _stream(reader, interval, once)
        elif once:
            console = _console()
            console.print(_table(reader.sample(), reader.boards(), console.width))
        else:
            _watch(reader, interval)


def _stream(reader: "Reader", interval: float, once: bool) -> None:
    from megatron_music.profiling.nvml.sample import to_json

    while True:
        print(to_json(reader.sample()), flush=True)
        if once:
            return
        time.sleep(interval)


def _watch(reader: "Reader", interval: float) -> None:
    from rich.live import Live

    console = _console()

    def look() -> "Table":
        return _table(reader.sample(), reader.boards(), console.width)

    with Live(look(), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(interval)
            live.update(look(), refresh=True)


def _console() -> "Console":
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=WIDTH)


def _table(sample: "Sample", boards: "Sequence[Board]", width: int) -> "Table":
    from rich import box
    from rich.table import Table

    from megatron_music.profiling.nvml.sample import MIG_REMARK

    few = len(sample.devices) <= 8  # sixteen have to fit on a screen
    title = time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(sample.time_s))
    table = Table(box=box.SQUARE, title=title, title_justify="left", show_lines=few)
    table.add_column("GPU  Name   Persistence-M\nFan   Temp  Perf  Pwr:Usage/Cap", no_wrap=True)
    table.add_column("Bus-Id  Disp.A\nMemory-Usage", justify="right", no_wrap=True)
    if width >= WIDE:
        head = "Volatile Uncorr. ECC\nGPU-Util  Compute M."
        table.add_column(head, justify="right", no_wrap=True)
        table.add_column("SM clock\nheld down by", justify="right")
    else:
        table.add_column("Uncorr. ECC\nGPU-Util  Mode", justify="right", no_wrap=True)
        table.caption = f"{WIDE} columns have room for clocks and what holds them down"
    if any(device.mig_uuids is not None for device in sample.devices):
        table.caption = f"MIG: {MIG_REMARK}"
    for device, board in zip(sample.devices, boards, strict=True):
        table.add_row(*_cells(device, board)[: len(table.columns)])
    return table


def _cells(device: "DeviceSample", board: "Board") -> tuple[str, ...]:
    if device.lost:
        return f"{device.index:3}  {_or(device.name)}\nLOST", "", "", ""
    fan, state = _or(device.fan_percent, "%"), _or(device.performance_state)
    power = f"{_or(_round(device.power_w), 'W')} / {_or(_round(device.power_limit_w), 'W')}"
    use = "MIG" if device.mig_uuids is not None else _or(device.gpu_utilization, "%")
    used, total = _mib(device.memory_used_bytes), _mib(device.memory_total_bytes)
    return (
        f"{device.index:3}  {_or(device.name)}  {_switch(board.persistence)}\n"
        f"{fan:>4}  {_or(device.temperature_c, 'C'):>4}  {'P' + state:>4}  {power:>15}",
        f"{_or(board.bus_id)}  {_switch(board.display_active)}\n{used} / {total}",
        f"{_or(board.ecc_errors)}\n{use}  {_or(board.compute_mode)}",
        f"{_or(device.sm_clock_mhz, 'MHz')}\n{_reasons(device.throttle_reasons)}",
    )


def _or(value: object | None, unit: str = "") -> str:
    return "N/A" if value is None else f"{value}{unit}"


def _round(value: float | None) -> int | None:
    return None if value is None else round(value)


def _mib(value: int | None) -> str:
    return "N/A" if value is None else f"{value // MIB}MiB"


def _switch(value: bool | None) -> str:
    return "N/A" if value is None else "On" if value else "Off"


def _reasons(reasons: tuple[str, ...] | None) -> str:
    return "N/A" if reasons is None else ", ".join(reasons) or "-"
