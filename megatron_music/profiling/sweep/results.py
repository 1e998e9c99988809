"""Results of a sweep: a row of JSON for each configuration, with the figures that follow."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

from megatron_music.costs import flops
from megatron_music.costs.flops import Shape
from megatron_music.errors import InputError, WriteError
from megatron_music.files import write_cure
from megatron_music.formatting import counted

ROWS_FILE = "rows.jsonl"
Outcome = Literal["ok", "out of memory", "timeout", "failed", "skipped"]
TERA = 1e12
GIB = 1 << 30


class Formula(NamedTuple):
    """A way to count the FLOPs of an iteration, and how a report names and explains it."""

    flops: Callable[[Shape], float]
    kind: Literal["hardware", "model"]
    meaning: str


FORMULAS: Mapping[str, Formula] = {
    "equation3": Formula(
        flops.equation3,
        "hardware",
        "equation 3 of arXiv 2104.04473: hardware FLOPs with full activation recomputation, "
        "whether or not the run recomputed",
    ),
    "model": Formula(
        flops.model, "model", "model FLOPs, attention counted in full, recomputation not counted"
    ),
    "model_causal": Formula(
        flops.model_causal,
        "model",
        "model FLOPs, causal attention counted by half, recomputation not counted; as Megatron "
        "counts since core 0.12",
    ),
}

RANKED_BY = "model_causal"


@dataclass(frozen=True)
class Row:
    """A configuration and its outcome; figures that were not measured are None or empty."""

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
        return label(
            processes=self.processes,
            tensor=self.tensor_parallel,
            pipeline=self.pipeline_parallel,
            data=self.data_parallel,
            micro_batch=self.micro_batch_size,
            global_batch=self.global_batch_size,
            precision=self.precision,
            recompute=self.recompute,
            layers=self.num_layers,
            width=self.hidden_size,
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

    # What follows is of a row that ran; every rate is for one device.

    @property
    def step_time_s(self) -> float:
        """Return the median of the measured iterations: a single pause would move a mean."""
        return median(self.step_times_s)

    @property
    def tokens_per_s(self) -> float:
        """Return tokens a second and device."""
        return self.global_batch_size * self.seq_length / (self.step_time_s * self.devices)

    def tflops(self, formula: str = RANKED_BY) -> float:
        """Return TFLOP/s of a device by a formula of FORMULAS."""
        return device_tflops(self.shape, self.devices, self.step_time_s, formula)

    def utilisation(self, formula: str = RANKED_BY) -> float | None:
        """Return the share of the peak by a formula, None without a peak."""
        return self.tflops(formula) / self.peak_tflops if self.peak_tflops else None

    @property
    def joules_per_million_tokens(self) -> float | None:
        """Return the energy of a million tokens, None where it was not measured."""
        tokens = self.global_batch_size * self.seq_length * len(self.step_times_s)
        return None if self.energy_j is None else self.energy_j / tokens * 1e6


def label(
    *,
    processes: int,
    tensor: int,
    pipeline: int,
    data: int,
    micro_batch: int,
    global_batch: int,
    precision: str,
    recompute: str,
    layers: int,
    width: int,
) -> str:
    """Name a configuration shortly, for a person; `data` is 0 where the layout is impossible."""
    return (
        f"{counted(processes, 'process', 'processes')}, TP={tensor} PP={pipeline} "
        f"DP={data or '-'}, batch {micro_batch} of {global_batch}, {precision}, "
        f"recompute {recompute}, l={layers} h={width}"
    )


def device_tflops(shape: Shape, devices: int, step_s: float, formula: str = RANKED_BY) -> float:
    """Return TFLOP/s of a device at a step time."""
    return FORMULAS[formula].flops(shape) / (step_s * devices * TERA)


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
        raise WriteError(f"cannot write {path}: {fault.strerror}; {write_cure(fault)}") from fault


def best_first(rows: Iterable[Row]) -> list[Row]:
    """Return all rows that ran, most model FLOPs a second and device first."""
    ran = [row for row in rows if row.outcome == "ok" and row.step_times_s]
    return sorted(ran, key=lambda row: -row.tflops())


def scaling_curves(ran: Iterable[Row]) -> list[list[Row]]:
    """Return a curve for each model and precision that ran on more than one number of processes.

    A curve holds the fastest layout and batch of each number of processes, ascending: the first
    row is what the others are compared with.
    """
    groups: dict[tuple[object, ...], dict[int, Row]] = {}
    for row in ran:
        best = groups.setdefault(_model(row), {})
        known = best.get(row.processes)
        if known is None or row.tokens_per_s > known.tokens_per_s:
            best[row.processes] = row
    return [[best[at] for at in sorted(best)] for best in groups.values() if len(best) > 1]


def scaling_efficiencies(ran: Sequence[Row]) -> dict[str, float]:
    """Return the rate of a device against that of the fewest processes with the same model.

    By key of the row; rows of a model that ran on one number of processes have none.
    """
    bases = {_model(curve[0]): curve[0].tokens_per_s for curve in scaling_curves(ran)}
    return {row.key: row.tokens_per_s / bases[_model(row)] for row in ran if _model(row) in bases}


def _model(row: Row) -> tuple[object, ...]:
    shape = (row.num_layers, row.hidden_size, row.seq_length, row.padded_vocab_size)
    return (row.device, row.precision, *shape)
