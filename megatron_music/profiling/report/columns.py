"""The table of a sweep: a line for each row, a column for each figure, by the names of the CSV."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import NamedTuple

from megatron_music.profiling.sweep.results import (
    FORMULAS,
    GIB,
    Row,
    scaling_efficiencies,
)

Line = dict[str, str | int | float | None]
"""The values of a row by the names of COLUMNS, unrounded; None is not known."""

COLUMNS: Mapping[str, tuple[str, str]] = {
    "key": ("row", "{}"),
    "device": ("device", "{}"),
    "devices": ("devices", "{}"),
    "processes": ("processes", "{}"),
    "precision": ("precision", "{}"),
    "tensor_parallel": ("TP", "{}"),
    "pipeline_parallel": ("PP", "{}"),
    "data_parallel": ("DP", "{}"),
    "micro_batch_size": ("micro batch", "{}"),
    "global_batch_size": ("global batch", "{}"),
    "recompute": ("recompute", "{}"),
    "seq_length": ("sequence", "{}"),
    "num_layers": ("layers", "{}"),
    "hidden_size": ("width", "{}"),
    "step_time_s": ("step time, s (median)", "{:.4g}"),
    "tokens_per_s_per_device": ("tokens/s a device", "{:,.0f}"),
    **{
        f"tflops_{name}": (f"TFLOP/s, {name} ({of.kind})", "{:.4g}")
        for name, of in FORMULAS.items()
    },
    **{
        f"utilisation_{name}": (f"utilisation, {name} ({of.kind})", "{:.2%}")
        for name, of in FORMULAS.items()
    },
    "scaling_efficiency": ("scaling efficiency", "{:.1%}"),
    "peak_tflops": ("peak, TFLOP/s", "{:.4g}"),
    "peak_source": ("peak from", "{}"),
    "memory_gib": ("memory, GiB", "{:.3g}"),
    "estimated_gib": ("estimate, GiB", "{:.3g}"),
    "mean_power_w": ("power, W", "{:.0f}"),
    "joules_per_million_tokens": ("J per million tokens", "{:,.0f}"),
}
"""How a column is headed and its values are written for a person, by its name with the unit."""


def lines_of(ran: Sequence[Row]) -> list[Line]:
    """Return the figures of the rows that ran, in their order."""
    efficiency = scaling_efficiencies(ran)
    lines = []
    for row in ran:
        line = settings(row) | {
            "step_time_s": row.step_time_s,
            "tokens_per_s_per_device": row.tokens_per_s,
            "scaling_efficiency": efficiency.get(row.key),
            "memory_gib": _gib(row.memory_bytes),
            "estimated_gib": _gib(row.estimated_bytes),
            "joules_per_million_tokens": row.joules_per_million_tokens,
        }
        for formula in FORMULAS:
            line[f"tflops_{formula}"] = row.tflops(formula)
            line[f"utilisation_{formula}"] = row.utilisation(formula)
        lines.append(line)
    return lines


def settings(row: Row) -> Line:
    """Return what a row has of the columns without having run: its layout."""
    return {name: value for name, value in asdict(row).items() if name in COLUMNS}


def shown(line: Line, name: str) -> str:
    """Return a value as a person reads it; a dash for what is not known."""
    value = line.get(name)
    return "-" if value is None else COLUMNS[name][1].format(value)


class Table(NamedTuple):
    """The table of a report: its columns by name and heading, and cells as a person reads them.

    `common` has the heading and the value of what is the same in all lines.
    """

    columns: list[str]
    headings: list[str]
    cells: list[list[str]]
    common: list[tuple[str, str]]


def as_table(lines: Sequence[Line]) -> Table:
    """Return the table of lines.

    Columns without any value are left out. A single line keeps all that it has.
    """
    differing, common = [], []
    for name, (heading, _) in COLUMNS.items():
        values = {shown(line, name) for line in lines}
        if values <= {"-", ""}:
            continue
        if len(lines) > 1 and len(values) == 1:
            common.append((heading, values.pop()))
        else:
            differing.append(name)
    headings = [COLUMNS[name][0] for name in differing]
    cells = [[shown(line, name) for name in differing] for line in lines]
    return Table(differing, headings, cells, common)


def _gib(size: int | None) -> float | None:
    return None if size is None else size / GIB
