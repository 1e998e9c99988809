"""Reading the CSV of `nsys stats --report cuda_gpu_kern_sum --format csv`.

It holds sums per kernel over all devices, not when each ran: there is no wall time in it, no idle
share and no overlap.
"""

import csv
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from megatron_music.errors import InputError
from megatron_music.profiling.kernels import CLASSES, classify
from megatron_music.profiling.nsight.result import DeviceProfile, KernelTime, Profile

HEADER = re.compile(r'^"?Time \(%\)"?,|^"?Time\(%\)"?,')
TOTAL = re.compile(r"Total Time \((ns|us|μs|ms|s|sec)\)")
MS_PER = {"ns": 1e-6, "us": 1e-3, "μs": 1e-3, "ms": 1.0, "s": 1e3, "sec": 1e3}
LOOKED_AT = 1 << 16
"""Bytes in which the header has to come: the progress lines before it are few."""

NOTE = (
    "a CSV of nsys stats holds summed times of all devices: no span, no idle share, no overlap; "
    "kernels that ran side by side count twice. For those: nsys export --type sqlite"
)


def is_stats_csv(path: Path) -> bool:
    """Tell whether a file holds the table of `cuda_gpu_kern_sum`; progress lines may precede."""
    try:
        with path.open("rb") as file:
            beginning = file.read(LOOKED_AT).decode(errors="replace")
    except OSError:
        return False
    return any(HEADER.match(line) for line in beginning.splitlines())


def read_stats_csv(path: Path, top: int = 10) -> Profile:
    """Return the classes and the top kernels of such a CSV; raises InputError."""
    kernels = sorted(_kernels(path), key=lambda kernel: -kernel.total_ms)
    if not kernels:
        raise InputError(f"{path} lists no kernels; was anything captured with -t cuda?")
    classes = dict.fromkeys(CLASSES, 0.0)
    for kernel in kernels:
        classes[kernel.kind] += kernel.total_ms
    device = DeviceProfile(
        device=None,
        name=None,
        span_ms=None,
        busy_ms=None,
        communication_ms=classes["communication"],
        communication_hidden_ms=None,
        classes_ms=classes,
        kernel_count=sum(kernel.count for kernel in kernels),
        top_kernels=tuple(kernels[:top]),
        steps=None,
    )
    return Profile(path, (device,), (NOTE,))


def _kernels(path: Path) -> Iterable[KernelTime]:
    with path.open(encoding="utf-8", errors="replace", newline="") as lines:
        header = next(line for line in lines if HEADER.match(line))
        columns = next(csv.reader([header]))
        total, per_ms = _total_column(path, columns)
        places = (_place(path, columns, "Name"), total, _place(path, columns, "Instances"))
        for row in _rows(path, lines):
            if len(row) != len(columns):  # a blank line or the next report's progress ends it
                return
            yield _kernel(path, [row[place] for place in places], per_ms)


def _rows(path: Path, lines: Iterable[str]) -> Iterator[list[str]]:
    try:
        yield from csv.reader(lines)
    except csv.Error as fault:
        raise InputError(f"{path} is no CSV of nsys stats ({fault}); write it again") from fault


def _kernel(path: Path, cells: list[str], ms_per_unit: float) -> KernelTime:
    name, total, count = cells
    try:
        return KernelTime(name, classify(name), _time(total) * ms_per_unit, int(count))
    except ValueError as fault:
        raise InputError(
            f"{path}: kernel '{name}' has the time '{total}' and the count '{count}', numbers "
            "were expected; write it again: nsys stats --report cuda_gpu_kern_sum --format csv"
        ) from fault


def _time(text: str) -> float:
    if not 0 <= float(text) < math.inf:
        raise ValueError(text)
    return float(text)


def _total_column(path: Path, columns: list[str]) -> tuple[int, float]:
    for place, title in enumerate(columns):
        if found := TOTAL.fullmatch(title):
            return place, MS_PER[found.group(1)]
    return _place(path, columns, "Total Time (ns)"), MS_PER["ns"]


def _place(path: Path, columns: list[str], title: str) -> int:
    if title not in columns:
        raise InputError(
            f"{path} has no column '{title}' but {', '.join(columns)}; write it again: "
            "nsys stats --report cuda_gpu_kern_sum --format csv"
        )
    return columns.index(title)
