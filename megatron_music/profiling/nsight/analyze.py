"""Analyze a capture: time by class of kernel and by iteration, by unions of intervals."""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from megatron_music.errors import UsageError
from megatron_music.profiling.nsight.kernel_classes import CLASSES, classify
from megatron_music.profiling.nsight.trace import (
    Activity,
    Range,
    Union,
    clip,
    merge,
    overlap,
    union,
)

ITERATIONS = r"(profiler|train(ing)?[ _]?)?(iteration|iter|step)[\s_:#=-]*\d*"
"""Names of ranges that count as one iteration: `iteration 7`, `train_step`, `ProfilerStep#7`."""

PHASES_SHOWN = 12
NS_PER_MS = 1e6


@dataclass(frozen=True)
class KernelTime:
    """All launches of one kernel; `total_ms` is summed, so launches side by side count twice."""

    name: str
    kind: str
    """Its class, one of `kernel_classes.CLASSES`."""
    total_ms: float
    count: int


@dataclass(frozen=True)
class Step:
    """One iteration as a process named it; the shares are of the device during that time."""

    name: str
    duration_ms: float
    busy_share: float
    communication_ms: float
    communication_exposed_ms: float


@dataclass(frozen=True)
class Steps:
    """The iterations of a device, without the first and the last of the capture.

    Those two are left out because the capture or a warm-up may have touched them; where there are
    fewer than three, none is left out and `dropped` is 0.
    """

    steps: tuple[Step, ...]
    dropped: int
    phases_ms: Mapping[str, float]
    """Mean time of each range right inside an iteration, summed over its repetitions, on the
    thread that ran the iteration: the time of the CPU, after which the GPU may still be busy."""

    @property
    def durations_ms(self) -> tuple[float, ...]:
        """How long each iteration took."""
        return tuple(step.duration_ms for step in self.steps)


@dataclass(frozen=True)
class DeviceProfile:
    """One GPU during the capture.

    The window reaches from its first kernel's start to its last one's end. `busy` is the union of
    its kernels, `idle` the rest of the window, including times with copies alone.
    `communication_hidden` is the part of the communication during which another kernel ran.
    """

    device: int
    name: str | None
    span_ms: float
    busy_ms: float
    communication_ms: float
    communication_hidden_ms: float
    classes_ms: Mapping[str, float]
    """Per class the union of its kernels (copies and fills count as memory): classes that run at
    the same time add up to more than `busy_ms`."""
    kernel_count: int
    top_kernels: tuple[KernelTime, ...]
    steps: Steps | None

    @property
    def busy_share(self) -> float | None:
        """The share of the window in which a kernel ran; None for an empty window."""
        return _share(self.busy_ms, self.span_ms)

    @property
    def idle_ms(self) -> float:
        """Time in the window without a kernel."""
        return _rest(self.span_ms, self.busy_ms)

    @property
    def idle_share(self) -> float | None:
        """The share of the window in which no kernel ran."""
        return _share(self.idle_ms, self.span_ms)

    @property
    def communication_exposed_ms(self) -> float:
        """Communication during which no other kernel ran."""
        return _rest(self.communication_ms, self.communication_hidden_ms)

    @property
    def communication_hidden_share(self) -> float | None:
        """The share of the communication that other kernels hid; None if there was none."""
        return _share(self.communication_hidden_ms, self.communication_ms)


@dataclass(frozen=True)
class Profile:
    """A capture: its devices, and remarks on what the figures leave out."""

    file: Path
    devices: tuple[DeviceProfile, ...]
    notes: tuple[str, ...]


def step_durations_ms(profile: Profile) -> tuple[float, ...]:
    """Return how long each iteration took on the slowest device, without the boundary ones.

    FLOPs of one iteration over these times and the number of GPUs is the achieved rate. Empty
    where the capture holds no iteration ranges.
    """
    each = [device.steps.durations_ms for device in profile.devices if device.steps]
    return tuple(max(together) for together in zip(*each, strict=False))


def as_json(profile: Profile) -> dict[str, Any]:
    """Return the profile as JSON's types, with the derived figures."""
    devices = [
        {
            "device": device.device,
            "name": device.name,
            "span_ms": device.span_ms,
            "busy_ms": device.busy_ms,
            "busy_share": device.busy_share,
            "idle_ms": device.idle_ms,
            "idle_share": device.idle_share,
            "communication_ms": device.communication_ms,
            "communication_hidden_ms": device.communication_hidden_ms,
            "communication_exposed_ms": device.communication_exposed_ms,
            "communication_hidden_share": device.communication_hidden_share,
            "classes_ms": dict(device.classes_ms),
            "kernel_count": device.kernel_count,
            "top_kernels": [
                {"name": top.name, "class": top.kind, "total_ms": top.total_ms, "count": top.count}
                for top in device.top_kernels
            ],
            "steps": device.steps
            and {
                "mean_ms": fmean(device.steps.durations_ms),
                "dropped": device.steps.dropped,
                "phases_ms": dict(device.steps.phases_ms),
                "steps": [asdict(step) for step in device.steps.steps],
            },
        }
        for device in profile.devices
    ]
    return {
        "file": str(profile.file),
        "devices": devices,
        "step_durations_ms": list(step_durations_ms(profile)),
        "notes": list(profile.notes),
    }


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _rest(whole: float, part: float) -> float:
    return round(whole - part, 6)


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
    # By unions, never by sums: kernels on several streams run side by side.
    hidden = overlap(communication, compute)
    with_copies = classes | {"memory": merge(classes["memory"], union(copies.start, copies.end))}
    # The process that launched most of the kernels
    processes, counts = np.unique(kernels.process, return_counts=True)
    main = int(processes[np.argmax(counts)]) if len(processes) else -1
    own = (iterations or {}).get(main, ())
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


def find_iterations(ranges: Iterable[Range], pattern: str = ITERATIONS) -> dict[int, list[Range]]:
    """Return the iterations of each process, of nested ones the outermost.

    The ranges come as `read_ranges` returns them: by their start, the longer one first.
    """
    try:
        matches = re.compile(pattern, re.IGNORECASE).fullmatch
    except re.error as fault:
        raise UsageError(
            f"'{pattern}' is not a regular expression ({fault}); give one such as 'iteration.*'"
        ) from fault
    found: dict[int, list[Range]] = defaultdict(list)
    for each in ranges:
        if matches(each.name.strip()):
            earlier = found[each.process]
            if not earlier or each.start >= earlier[-1].end:
                earlier.append(each)
    return dict(found)


def measure_steps(
    iterations: Sequence[Range],
    ranges: Sequence[Range],
    busy: Union,
    communication: Union,
    compute: Union,
) -> Steps | None:
    """Return what a device did in each iteration of its process; None without iterations.

    Times are those of the thread that ran the iteration. Work that the GPU still has in its queue
    when an iteration ends is seen in the next one.
    """
    if not iterations:
        return None
    inner = inner_steps(iterations)
    steps = []
    # The mean time an iteration spent in each range right inside it, longest first
    totals: dict[str, int] = defaultdict(int)
    for step in inner:
        duration = step.end - step.start
        within = [clip(part, step.start, step.end) for part in (busy, communication, compute)]
        exposed = within[1].length - overlap(within[1], within[2])
        steps.append(
            Step(
                name=step.name,
                duration_ms=duration / NS_PER_MS,
                busy_share=within[0].length / duration,
                communication_ms=within[1].length / NS_PER_MS,
                communication_exposed_ms=exposed / NS_PER_MS,
            )
        )
        reached = step.start
        first = bisect_left(ranges, step.start, key=lambda each: each.start)
        last = bisect_left(ranges, step.end, key=lambda each: each.start)
        for each in ranges[first:last]:
            # Only ranges right inside: one nested in another is counted with the outer one.
            inside = each.thread == step.thread and each.end <= step.end and each is not step
            if inside and each.start >= reached:
                # Numbers in names are left out, so that repetitions add up.
                totals[re.sub(r"(, (op_id|seq) = \d+.*|[\s_:#]*\d+)$", "", each.name.strip())] += (
                    each.end - each.start
                )
                reached = each.end
    longest = sorted(totals.items(), key=lambda item: -item[1])[:PHASES_SHOWN]
    return Steps(
        tuple(steps),
        len(iterations) - len(inner),
        {name: total / len(inner) / NS_PER_MS for name, total in longest},
    )


def inner_steps(iterations: Sequence[Range]) -> Sequence[Range]:
    """Return all but the first and the last; all of them where fewer than three are there."""
    return iterations[1:-1] if len(iterations) >= 3 else iterations
