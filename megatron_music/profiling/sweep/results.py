"""Results of a sweep: a row of JSON for each configuration, and figures computed from rows."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any, Literal

from megatron_music.costs import flops
from megatron_music.costs.flops import Shape
from megatron_music.errors import InputError, WriteError
from megatron_music.formatting import counted

ROWS_FILE = "rows.jsonl"
Outcome = Literal["ok", "out of memory", "timeout", "failed", "skipped"]
TERA = 1e12
GIB = 1 << 30

FORMULAS: Mapping[str, Callable[[flops.Shape], float]] = MappingProxyType(
    {"equation3": flops.equation3, "model": flops.model, "model_causal": flops.model_causal}
)
"""FLOPs of an iteration, by the name of the formula."""

RANKED_BY = "model_causal"
MEANING: Mapping[str, str] = MappingProxyType(
    {
        "equation3": "equation 3 of arXiv 2104.04473: hardware FLOPs with full activation "
        "recomputation, whether or not the run recomputed",
        "model": "model FLOPs, attention counted in full, recomputation not counted",
        "model_causal": "model FLOPs, causal attention counted by half, recomputation not "
        "counted; as Megatron counts since core 0.12",
    }
)

KIND: Mapping[str, str] = MappingProxyType(
    {"equation3": "hardware FLOPs", "model": "model FLOPs", "model_causal": "model FLOPs"}
)
"""Which FLOPs a formula counts."""


@dataclass(frozen=True)
class Row:
    """One configuration and its outcome; figures that were not measured are None or empty."""

    key: str
    outcome: Outcome
    reason: str
    command: str
    processes: int
    precision: str
    tensor_parallel: int
    pipeline_parallel: int
    data_parallel: int
    """0 where the layout is impossible."""
    micro_batch_size: int
    global_batch_size: int
    recompute: str
    seq_length: int
    num_layers: int
    hidden_size: int
    padded_vocab_size: int
    estimated_bytes: int | None = None
    """The estimated memory of the fullest process; None where the layout is impossible."""
    software: str = ""
    """Versions, and what computes attention, as the run found them."""
    device: str = ""
    devices: int = 0
    """GPUs used; 1 for a CPU, however many processes share it."""
    step_times_s: tuple[float, ...] = ()
    """Of every iteration after the warm-up, as the run's log has them."""
    peak_tflops: float | None = None
    """Of one device."""
    peak_source: str = ""
    memory_bytes: int | None = None
    """The most that a GPU held, by NVML; on a CPU the first process, by its own account."""
    mean_power_w: float | None = None
    """Of a GPU, mean over all."""
    energy_j: float | None = None
    """Of all GPUs together, over the measured iterations."""
    nvml_remark: str = ""
    """Why NVML's figures are missing, "" where they are not."""
    started_s: float | None = None
    """When the warm-up had ended, Unix time."""
    ended_s: float | None = None
    """When the last iteration had."""
    phases_s: dict[str, float] = field(default_factory=dict)
    """Seconds an iteration by phase, as a run on a CPU timed itself; its first process."""

    @property
    def label(self) -> str:
        """Name the configuration shortly, for a person."""
        return (
            f"{counted(self.processes, 'process', 'processes')}, TP={self.tensor_parallel} "
            f"PP={self.pipeline_parallel} DP={self.data_parallel or '-'}, "
            f"batch {self.micro_batch_size} of {self.global_batch_size}, {self.precision}, "
            f"recompute {self.recompute}, l={self.num_layers} h={self.hidden_size}"
        )

    @property
    def shape(self) -> Shape:
        """Return the shape that decides the FLOPs of an iteration."""
        return Shape(
            global_batch_size=self.global_batch_size,
            seq_length=self.seq_length,
            num_layers=self.num_layers,
            hidden_size=self.hidden_size,
            padded_vocab_size=self.padded_vocab_size,
        )


@dataclass(frozen=True)
class Figures:
    """The figures of a row that ran; every rate is for one device."""

    row: Row
    step_time_s: float
    """Median over the measured iterations."""
    tokens_per_s: float
    tflops: dict[str, float]
    """TFLOP/s by the name of the formula."""
    utilisation: dict[str, float]
    """Share of the peak by the name of the formula; empty without a peak."""
    joules_per_million_tokens: float | None
    scaling_efficiency: float | None = None
    """Rate of a device against that of the fewest processes with the same model; if there are."""


@dataclass(frozen=True)
class Point:
    """The best configuration of a number of processes; `tokens_per_s` of all devices together."""

    figures: Figures
    tokens_per_s: float
    efficiency: float
    """Rate of a device, against a device of the base's. A CPU is one device for all processes."""


@dataclass(frozen=True)
class Curve:
    """One model at one precision, by processes ascending; the first point is the base."""

    title: str
    points: tuple[Point, ...]

    @property
    def ideal(self) -> tuple[float, ...]:
        """Tokens/s if every device did as much as one of the base's."""
        base = self.points[0].figures.tokens_per_s
        return tuple(base * point.figures.row.devices for point in self.points)


def read_rows(folder: Path) -> list[Row]:
    """Return the last row of every configuration; a line that a kill cut short is left out.

    There are none where no sweep has begun. Raises InputError for a file that cannot be read.
    """
    path = folder / ROWS_FILE
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as fault:
        raise InputError(f"cannot read {path}: {fault.strerror}; check the folder") from fault
    known = {one.name for one in fields(Row)}
    rows: dict[str, Row] = {}
    for line in text.splitlines():
        with suppress(ValueError, TypeError, AttributeError):
            values: dict[str, Any] = json.loads(line)
            given = {key: value for key, value in values.items() if key in known}
            row = Row(**given | {"step_times_s": tuple(given.get("step_times_s", ()))})
            rows[row.key] = row
    return list(rows.values())


def append_row(folder: Path, row: Row) -> None:
    """Append a row as one line in one write; raises WriteError."""
    path = folder / ROWS_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = path.read_bytes() if path.exists() else b""
        # A kill may have cut the last line short; the next one must not continue it.
        cut = bool(before) and not before.endswith(b"\n")
        line = ("\n" if cut else "") + json.dumps(asdict(row)) + "\n"
        with path.open("ab", buffering=0) as file:
            file.write(line.encode())
            os.fsync(file.fileno())
    except OSError as fault:
        raise WriteError(f"cannot write {path}: {fault.strerror}; make room") from fault


def figures(row: Row) -> Figures:
    """Return the figures of a row that ran."""
    # The median: a single pause of the machine would move a mean.
    step_s = median(row.step_times_s)
    tokens = row.global_batch_size * row.seq_length
    rates = {
        name: formula(row.shape) / (step_s * row.devices * TERA)
        for name, formula in FORMULAS.items()
    }
    peak = row.peak_tflops
    energy = row.energy_j
    return Figures(
        row=row,
        step_time_s=step_s,
        tokens_per_s=tokens / (step_s * row.devices),
        tflops=rates,
        utilisation={name: rate / peak for name, rate in rates.items()} if peak else {},
        joules_per_million_tokens=(
            None if energy is None else energy / (tokens * len(row.step_times_s)) * 1e6
        ),
    )


def best_first(rows: Iterable[Row]) -> list[Figures]:
    """Return the figures of all rows that ran, most model FLOPs a second and device first."""
    ran = [figures(row) for row in rows if row.outcome == "ok" and row.step_times_s]
    return sorted(ran, key=lambda one: -one.tflops[RANKED_BY])


def scaling_curves(ran: Iterable[Figures]) -> list[Curve]:
    """Return a curve for each model and precision that ran on more than one number of processes.

    Of each number of processes the fastest layout and batch counts.
    """
    groups: dict[tuple[object, ...], list[Figures]] = {}
    for one in ran:
        groups.setdefault(_model(one), []).append(one)
    curves = []
    for group in groups.values():
        best: dict[int, Figures] = {}
        for one in group:
            known = best.get(one.row.processes)
            if known is None or one.tokens_per_s > known.tokens_per_s:
                best[one.row.processes] = one
        ordered = [best[processes] for processes in sorted(best)]
        base, row = ordered[0].tokens_per_s, ordered[0].row
        title = f"l={row.num_layers} h={row.hidden_size}, sequence {row.seq_length}"
        points = [
            Point(one, one.tokens_per_s * one.row.devices, one.tokens_per_s / base)
            for one in ordered
        ]
        if len(points) > 1:
            curves.append(Curve(f"{title}, {row.precision}", tuple(points)))
    return curves


def with_efficiency(ran: Sequence[Figures]) -> list[Figures]:
    """Return the figures with their scaling efficiency, where there is something to scale from."""
    bases = {_model(curve.points[0].figures): curve.points[0] for curve in scaling_curves(ran)}
    return [
        replace(one, scaling_efficiency=one.tokens_per_s / bases[_model(one)].figures.tokens_per_s)
        if _model(one) in bases
        else one
        for one in ran
    ]


def _model(one: Figures) -> tuple[object, ...]:
    row = one.row
    shape = (row.num_layers, row.hidden_size, row.seq_length, row.padded_vocab_size)
    return (row.device, row.precision, *shape)
