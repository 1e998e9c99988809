"""The rows of a sweep: one line of JSON for each configuration, whatever became of it."""

import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from megatron_music.costs.flops import Shape
from megatron_music.errors import InputError, WriteError
from megatron_music.wording import counted

ROWS_FILE = "rows.jsonl"

Outcome = Literal["ok", "out of memory", "timeout", "failed", "skipped"]


@dataclass(frozen=True)
class Row:
    """One configuration and what became of it; what was not measured is None or empty."""

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
    """What the fullest process is estimated to hold; None where the layout is impossible."""
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
        """Return what decides the FLOPs of an iteration."""
        return Shape(
            global_batch_size=self.global_batch_size,
            seq_length=self.seq_length,
            num_layers=self.num_layers,
            hidden_size=self.hidden_size,
            padded_vocab_size=self.padded_vocab_size,
        )


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
    read = (_row(line) for line in text.splitlines())
    return list({row.key: row for row in read if row is not None}.values())


def append_row(folder: Path, row: Row) -> None:
    """Add a row in one piece, on a line of its own; raises WriteError."""
    path = folder / ROWS_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = path.read_bytes() if path.exists() else b""
        cut = bool(before) and not before.endswith(b"\n")
        line = ("\n" if cut else "") + json.dumps(asdict(row)) + "\n"
        with path.open("ab", buffering=0) as file:
            file.write(line.encode())
            os.fsync(file.fileno())
    except OSError as fault:
        raise WriteError(f"cannot write {path}: {fault.strerror}; make room") from fault


def _row(line: str) -> Row | None:
    try:
        values: dict[str, Any] = json.loads(line)
        known = {one.name for one in fields(Row)}
        given = {key: value for key, value in values.items() if key in known}
        return Row(**given | {"step_times_s": tuple(given.get("step_times_s", ()))})
    except (ValueError, TypeError, AttributeError):
        return None
