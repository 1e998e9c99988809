"""From what ran on a device to where its time went: unions of intervals, never summed times."""

from collections.abc import Mapping, Sequence

import numpy as np

from megatron_music.profiling.intervals import Union, merge, overlap, union
from megatron_music.profiling.kernels import CLASSES, classify
from megatron_music.profiling.nsight.activity import Activity, Range
from megatron_music.profiling.nsight.result import DeviceProfile, KernelTime
from megatron_music.profiling.nsight.steps import NS_PER_MS, measure_steps


def profile_device(
    kernels: Activity,
    copies: Activity,
    device: int,
    name: str | None = None,
    iterations: Mapping[int, Sequence[Range]] | None = None,
    ranges: Sequence[Range] = (),
    top: int = 10,
) -> DeviceProfile:
    """Return where the time of one device went; both activities hold that device's alone."""
    classes = class_unions(kernels)
    busy = merge(*classes.values())
    communication = classes["communication"]
    compute = merge(*(part for kind, part in classes.items() if kind != "communication"))
    hidden = overlap(communication, compute)
    with_copies = classes | {"memory": merge(classes["memory"], union(copies.start, copies.end))}
    own = (iterations or {}).get(_main_process(kernels), ())
    return DeviceProfile(
        device=device,
        name=name,
        span_ms=busy.span / NS_PER_MS,
        busy_ms=busy.length / NS_PER_MS,
        communication_ms=communication.length / NS_PER_MS,
        communication_hidden_ms=hidden / NS_PER_MS,
        classes_ms={kind: with_copies[kind].length / NS_PER_MS for kind in CLASSES},
        kernel_count=len(kernels),
        top_kernels=top_kernels(kernels, top),
        steps=measure_steps(own, ranges, busy, communication, compute),
    )


def class_unions(kernels: Activity) -> dict[str, Union]:
    """Return the time covered by the kernels of each class."""
    kinds = np.array([CLASSES.index(classify(name)) for name in kernels.names], dtype=np.int64)
    each = kinds[kernels.name]
    unions = {}
    for number, kind in enumerate(CLASSES):
        chosen = each == number
        unions[kind] = union(kernels.start[chosen], kernels.end[chosen])
    return unions


def top_kernels(kernels: Activity, top: int) -> tuple[KernelTime, ...]:
    """Return the kernels with the longest summed time, longest first."""
    size = len(kernels.names)
    durations = (kernels.end - kernels.start).astype(np.float64)
    totals = np.bincount(kernels.name, weights=durations, minlength=size)
    counts = np.bincount(kernels.name, minlength=size)
    longest = [int(index) for index in np.argsort(-totals, kind="stable")[:top] if counts[index]]
    return tuple(
        KernelTime(
            kernels.names[index],
            classify(kernels.names[index]),
            float(totals[index]) / NS_PER_MS,
            int(counts[index]),
        )
        for index in longest
    )


def _main_process(kernels: Activity) -> int:
    """Return the process that launched most of the kernels."""
    processes, counts = np.unique(kernels.process, return_counts=True)
    return int(processes[np.argmax(counts)]) if len(processes) else -1
