"""Read a capture by Nsight Systems or torch's profiler, and analyze it."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from megatron_music.errors import InputError
from megatron_music.profiling.nsight.analyze import (
    ITERATIONS,
    DeviceProfile,
    Profile,
    find_iterations,
    profile_device,
)
from megatron_music.profiling.nsight.sqlite import GRAPH_NAME, read_export
from megatron_music.profiling.nsight.trace import PID_UNIT, Activity, Capture, Range

SUFFIXES = (".json", ".json.gz")
NS_PER_US = 1000
KERNELS, COPIES, RANGES = ("kernel",), ("gpu_memcpy", "gpu_memset"), ("user_annotation",)
MOST_BYTES = 4 << 30
"""Of a trace, uncompressed; a few iterations take some megabytes."""

REPORTS = (".nsys-rep", ".qdrep")
OTHER_NAMES = "where its iterations have other names: --iterations REGEX"
"""What to do about iterations that `find_iterations` did not find."""

UNKNOWN_SHARE = 0.1
"""Above this share of the busy time, kernels of no known class are worth a remark."""


def read_torch_trace(path: Path) -> Capture:
    """Read a trace; raises InputError."""
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
        trace = json.loads(content)
    except (ValueError, RecursionError) as fault:
        raise InputError(f"{path} is not whole JSON ({fault}); copy it again") from fault
    try:
        events = [one for one in trace["traceEvents"] if one.get("ph") == "X" and "cat" in one]
        annotations = _of(events, RANGES)
        # All of process 0: a trace has one process.
        found = [
            Range(str(one["name"]), start, end, int(one["tid"]) % PID_UNIT)
            for one, (start, end) in zip(annotations, _times(annotations), strict=True)
        ]
        return Capture(
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


def _of(events: Iterable[Any], categories: tuple[str, ...]) -> list[Any]:
    return [one for one in events if one["cat"] in categories]


def _times(events: Iterable[Any]) -> list[tuple[int, int]]:
    """Return start and end in nanoseconds."""
    return [
        (round(one["ts"] * NS_PER_US), round((one["ts"] + one["dur"]) * NS_PER_US))
        for one in events
    ]


def _activity(events: Sequence[Any]) -> Activity:
    names = {str(one["name"]): None for one in events}
    places = {name: place for place, name in enumerate(names)}
    rows = (
        (start, end, int(one["args"]["device"]), 0, places[str(one["name"])])
        for one, (start, end) in zip(events, _times(events), strict=True)
    )
    return Activity.of(rows, dict(enumerate(names)))


def read_profile(path: Path, top: int = 10, iterations: str = ITERATIONS) -> Profile:
    """Read an SQLite export of Nsight Systems, or torch's trace; raises InputError.

    `top` kernels are listed for each device; `iterations` is a regular expression for the names
    of the ranges that are one iteration each.
    """
    if path.suffix in REPORTS:
        raise InputError(
            f"{path} is a report that only nsys itself can read; run: nsys export --type sqlite "
            f"-o {quote(str(path.with_suffix('.sqlite')))} {quote(str(path))}"
        )
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a file; give an SQLite export of Nsight Systems")
    is_torchs = path.name.endswith(SUFFIXES)
    capture = read_torch_trace(path) if is_torchs else read_export(path)
    kernels = capture.kernels
    if not len(kernels):
        raise InputError(
            f"{path} holds no GPU kernels; capture with: nsys profile -t cuda,nvtx, or train with "
            "log.use_pytorch_profiler=true on a GPU"
        )
    found = find_iterations(capture.ranges, iterations)
    devices = tuple(
        profile_device(capture, device, found, top)
        for device in map(int, np.unique(kernels.rows["device"]))
    )
    return Profile(path, devices, tuple(_notes(kernels, devices)))


def _notes(kernels: Activity, devices: Sequence[DeviceProfile]) -> Iterator[str]:
    """Say what the figures leave out."""
    if GRAPH_NAME in kernels.names:
        yield (
            "CUDA graphs were captured as wholes and count as other; to see their kernels, "
            "capture with --cuda-graph-trace=node"
        )
    counted = [device.steps for device in devices if device.steps]
    if not counted:
        yield (
            "no NVTX ranges of iterations: the figures are of the whole capture, warm-up included; "
            f"{OTHER_NAMES}"
        )
    elif not all(steps["dropped"] for steps in counted):
        yield "fewer than three iterations were captured: the boundary ones are counted too"
    for device in devices:
        unknown = device.classes_ms["other"]
        if device.busy_ms and unknown > UNKNOWN_SHARE * device.busy_ms:
            yield f"device {device.device}: {unknown:.1f} ms in kernels of no known class (other)"
