"""Read traces of torch's profiler: `export_chrome_trace`, in the Trace Event format.

Times are microseconds with decimals, the operating system's thread numbers tell ranges apart, and
one file holds one process.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from megatron_music.errors import InputError
from megatron_music.profiling.nsight.trace import PID_UNIT, Activity, Range

SUFFIXES = (".json", ".json.gz")
NS_PER_US = 1000
KERNELS, COPIES, RANGES = ("kernel",), ("gpu_memcpy", "gpu_memset"), ("user_annotation",)
MOST_BYTES = 4 << 30
"""Of a trace, uncompressed; a few iterations take some megabytes."""


@dataclass(frozen=True)
class TorchTrace:
    """A trace: what ran on GPUs, the ranges by their start, the names of the GPUs."""

    kernels: Activity
    copies: Activity
    ranges: Sequence[Range]
    names: Mapping[int, str]


def is_torch_trace(path: Path) -> bool:
    """Tell by its name whether a file is a trace of torch's profiler."""
    return path.name.endswith(SUFFIXES)


def read_torch_trace(path: Path) -> TorchTrace:
    """Read a trace; raises InputError."""
    trace = _load(path)
    try:
        events = [one for one in trace["traceEvents"] if one.get("ph") == "X" and "cat" in one]
        annotations = _of(events, RANGES)
        # All of process 0: a trace has one process.
        found = [
            Range(str(one["name"]), start, end, int(one["tid"]) % PID_UNIT)
            for one, (start, end) in zip(annotations, _times(annotations), strict=True)
        ]
        return TorchTrace(
            _activity(_of(events, KERNELS)),
            _activity(_of(events, COPIES)),
            sorted(found, key=lambda one: (one.start, -one.end)),
            {int(one["id"]): str(one["name"]) for one in trace.get("deviceProperties", ())},
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as fault:
        raise InputError(
            f"{path} is not a trace of torch's profiler ({type(fault).__name__}: {fault}); make "
            "one with log.use_pytorch_profiler=true"
        ) from fault


def _load(path: Path) -> Any:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            # Bounded: a small .gz may unpack to more than the memory.
            content = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as fault:
        reason = getattr(fault, "strerror", None) or fault
        raise InputError(
            f"cannot read {path}: {reason}; check the name or copy it again"
        ) from fault
    if len(content) > MOST_BYTES:
        raise InputError(f"{path} holds more than {MOST_BYTES:,} bytes; trace fewer iterations")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as fault:
        raise InputError(f"{path} is not whole JSON ({fault}); copy it again") from fault


def _of(events: Iterable[Any], categories: tuple[str, ...]) -> list[Any]:
    return [one for one in events if one["cat"] in categories]


def _times(events: Iterable[Any]) -> list[tuple[int, int]]:
    """Return start and end in nanoseconds."""
    return [
        (round(one["ts"] * NS_PER_US), round((one["ts"] + one["dur"]) * NS_PER_US))
        for one in events
    ]


def _activity(events: Sequence[Any]) -> Activity:
    times = np.array(_times(events), dtype=np.int64).reshape(-1, 2)
    each = [str(one["name"]) for one in events]
    names = tuple(dict.fromkeys(each))
    places = {name: place for place, name in enumerate(names)}
    return Activity(
        np.ascontiguousarray(times[:, 0]),
        np.ascontiguousarray(times[:, 1]),
        np.array([int(one["args"]["device"]) for one in events], dtype=np.int64),
        np.zeros(len(events), dtype=np.int64),
        np.array([places[name] for name in each], dtype=np.int64),
        names,
    )
