"""Read a capture by Nsight Systems or torch's profiler, and analyze it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote

import numpy as np

from megatron_music.errors import InputError
from megatron_music.profiling.nsight.analyze import (
    ITERATIONS,
    Profile,
    find_iterations,
    profile_device,
)
from megatron_music.profiling.nsight.sqlite import (
    GRAPH_NAME,
    device_names,
    device_numbers,
    open_export,
    read_copies,
    read_kernels,
    read_ranges,
)
from megatron_music.profiling.nsight.torch_trace import is_torch_trace, read_torch_trace
from megatron_music.profiling.nsight.trace import PID_UNIT, Activity, Range

REPORTS = (".nsys-rep", ".qdrep")
OTHER_NAMES = "where its iterations have other names: --iterations REGEX"
"""What to do about iterations that `find_iterations` did not find."""

UNKNOWN_SHARE = 0.1
"""Above this share of the busy time, kernels of no known class are worth a remark."""


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
    if is_torch_trace(path):
        trace = read_torch_trace(path)
        return _profile(
            path, trace.kernels, trace.copies, trace.ranges, trace.names, top, iterations
        )
    with open_export(path) as export:
        numbers = device_numbers(export)
        kernels, copies = (_on_gpus(read(export), numbers) for read in (read_kernels, read_copies))
        ranges, names = read_ranges(export), device_names(export)
        return _profile(path, kernels, copies, ranges, names, top, iterations)


def _profile(
    path: Path,
    kernels: Activity,
    copies: Activity,
    ranges: Sequence[Range],
    names: Mapping[int, str],
    top: int,
    pattern: str,
) -> Profile:
    if not len(kernels):
        raise InputError(
            f"{path} holds no GPU kernels; capture with: nsys profile -t cuda,nvtx, or train with "
            "log.use_pytorch_profiler=true on a GPU"
        )
    found = find_iterations(ranges, pattern)
    devices = tuple(
        profile_device(
            kernels.where(kernels.device == device),
            copies.where(copies.device == device),
            device,
            names.get(device),
            found,
            ranges,
            top,
        )
        for device in map(int, np.unique(kernels.device))
    )
    notes = []
    if GRAPH_NAME in kernels.names:
        notes.append(
            "CUDA graphs were captured as wholes and count as other; to see their kernels, "
            "capture with --cuda-graph-trace=node"
        )
    if not any(device.steps for device in devices):
        notes.append(
            "no NVTX ranges of iterations: the figures are of the whole capture, warm-up included; "
            f"{OTHER_NAMES}"
        )
    elif any(device.steps and not device.steps.dropped for device in devices):
        notes.append("fewer than three iterations were captured: the boundary ones are counted too")
    for device in devices:
        unknown = device.classes_ms["other"]
        if device.busy_ms and unknown > UNKNOWN_SHARE * device.busy_ms:
            notes.append(
                f"device {device.device}: {unknown:.1f} ms in kernels of no known class (other)"
            )
    return Profile(path, devices, tuple(notes))


def _on_gpus(activity: Activity, numbers: Mapping[tuple[int, int], int]) -> Activity:
    """Return it numbered by GPU: processes may use one device number for different GPUs."""
    gpus = activity.device.copy()
    for (pid, device), gpu in numbers.items():
        # Global ids hold the host above the process's own id.
        gpus[(activity.process % PID_UNIT == pid) & (activity.device == device)] = gpu
    return replace(activity, device=gpus)
