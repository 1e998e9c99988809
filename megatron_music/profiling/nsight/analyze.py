"""Analyze a capture: time by class of kernel and by iteration, by unions of intervals.

NVIDIA's libraries name their kernels after the generation they are made for: `volta_...s884gemm`,
`turing_...s1688gemm`, `ampere_...s16816gemm`, `sm80_xmma_gemm`, `sm90_xmma_gemm`, `cutlass_80_...`,
`nvjet_...` (Hopper and Blackwell), `cutlass3x_sm100_...`. The table below is read from the top and
the first pattern that occurs in the name decides; the order matters, since a template's name
holds the names of its arguments (a flash attention kernel on `cutlass::bfloat16_t` is not a GEMM).
"""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, TypedDict

import numpy as np

from megatron_music.errors import UsageError
from megatron_music.profiling.nsight.trace import (
    Activity,
    Capture,
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

CLASSES = (
    "gemm",
    "attention",
    "communication",
    "norm",
    "optimizer",
    "elementwise",
    "memory",
    "other",
)
"""Every class, in the order in which they are shown.

`elementwise` holds reductions too, `memory` gathers, scatters, copies and fills, and `other`
all kernels without a pattern: it is shown, so that gaps in the table are noticed.
"""

PATTERNS: tuple[tuple[str, str], ...] = (
    ("communication", r"\bnccl|nvshmem|userbuffers|deep_?ep::"),
    ("communication", r"all_?reduce|all_?gather|reduce_?scatter|all_?to_?all|multimem_"),
    ("other", r"log_?softmax|nll_?loss|cross_?entropy"),
    ("attention", r"flash|fmha|softmax|sdpa|attention|mha_(fwd|bwd|varlen)|paged_attn"),
    ("optimizer", r"multi_?tensor|adam|lamb_|\bsgd|lion_|foreach|lpnorm|l2norm|clip_grad"),
    ("gemm", r"gemm|gemv|matmul|nvjet|xmma|splitk_?reduce|\bdot_kernel|cublas(lt)?::"),
    ("gemm", r"[sh]884|s1688|s16816|i8816|tensorop|cutlass_?\d|cutlass::(gemm|device_)?kernel"),
    ("gemm", r"triton_(mm|bmm|tem)_|implicit_convolve|conv\dd|_(fprop|dgrad|wgrad)"),
    ("norm", r"(layer|rms|batch|group)_?norm|\bln_(fwd|bwd)|norm_(fwd|bwd)|welford"),
    ("norm", r"GammaBeta|cuComputeGradInput|cuComputePartGrad|RowwiseMoments"),
    ("memory", r"^\[?(cuda )?mem(cpy|set)|CatArray|gather|scatter|transpose|permute"),
    ("memory", r"index(_?select|ing|_elementwise|_put|FuncLarge)|embedding|compute_grad_weight"),
    ("elementwise", r"elementwise|pointwise|reduce_kernel|distribution_|triton_(poi|red|per)_"),
    ("elementwise", r"dropout|gelu|swiglu|relu|rotary|\brope|_rope|fused_|cast|scan|arange"),
    ("memory", r"copy|fill|memset|zero_"),
)
"""(class, pattern) from the top; matched anywhere in the name, in upper or lower case."""


def classify(name: str) -> str:
    """Return the class of a kernel by its demangled name; `other` where nothing fits."""
    for kind, pattern in PATTERNS:
        if re.search(pattern, name, re.IGNORECASE):
            return kind
    return "other"


KernelTime = TypedDict("KernelTime", {"name": str, "class": str, "total_ms": float, "count": int})
"""A kernel, its class, and its launches summed; launches side by side count twice."""


class Step(TypedDict):
    """What a device did in one iteration; the shares are of the device during that time."""

    name: str
    duration_ms: float
    busy_share: float
    communication_ms: float
    communication_exposed_ms: float


class Steps(TypedDict):
    """The iterations of a device's process, and what is right inside them.

    `dropped` counts the first and the last iteration, which the capture or a warm-up may have
    touched; where there are fewer than three, none is left out. `phases_ms` is the mean time of
    each range right inside an iteration, summed over its repetitions: on the thread that ran the
    iteration, the time of the CPU, after which the GPU may still be busy.
    """

    mean_ms: float
    dropped: int
    phases_ms: dict[str, float]
    steps: list[Step]


@dataclass(frozen=True)
class DeviceProfile:
    """One GPU during the capture; the fields are those of `profile nsight --json`.

    The window reaches from its first kernel's start to its last one's end. `busy` is the union of
    its kernels, `idle` the rest of the window, including times with copies alone. Communication is
    hidden while another kernel runs, and exposed else. A share of nothing is None.
    """

    device: int
    name: str | None
    span_ms: float
    busy_ms: float
    busy_share: float | None
    idle_ms: float
    idle_share: float | None
    communication_ms: float
    communication_hidden_ms: float
    communication_exposed_ms: float
    communication_hidden_share: float | None
    classes_ms: Mapping[str, float]
    """Per class the union of its kernels (copies and fills count as memory): classes that run at
    the same time add up to more than `busy_ms`."""
    kernel_count: int
    top_kernels: list[KernelTime]
    steps: Steps | None
    """None without ranges of iterations."""


@dataclass(frozen=True)
class Profile:
    """A capture: its devices, and remarks on what the figures leave out."""

    file: Path
    devices: tuple[DeviceProfile, ...]
    notes: tuple[str, ...]


def durations_ms(device: DeviceProfile) -> list[float]:
    """Return how long each iteration of a device took, without the boundary ones."""
    return [step["duration_ms"] for step in device.steps["steps"]] if device.steps else []


def step_durations_ms(profile: Profile) -> list[float]:
    """Return how long each iteration took on the slowest device, without the boundary ones.

    FLOPs of one iteration over these times and the number of GPUs is the achieved rate. Empty
    where the capture holds no iteration ranges.
    """
    each = [durations_ms(device) for device in profile.devices if device.steps]
    return [max(together) for together in zip(*each, strict=False)]


def as_json(profile: Profile) -> dict[str, Any]:
    """Return the profile as JSON's types."""
    return {
        "file": str(profile.file),
        "devices": [asdict(device) for device in profile.devices],
        "step_durations_ms": step_durations_ms(profile),
        "notes": list(profile.notes),
    }


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def profile_device(
    capture: Capture, device: int, iterations: Mapping[int, Sequence[Range]], top: int
) -> DeviceProfile:
    """Return where the time of one device went."""
    kernels, copies = capture.kernels.on(device), capture.copies.on(device)
    classes = class_unions(kernels)
    busy = merge(*classes.values())
    communication = classes["communication"]
    compute = merge(*(part for kind, part in classes.items() if kind != "communication"))
    # By unions, never by sums: kernels on several streams run side by side.
    hidden_ms = overlap(communication, compute) / NS_PER_MS
    copied = union(copies.rows["start"], copies.rows["end"])
    with_copies = classes | {"memory": merge(classes["memory"], copied)}
    # The process that launched most of the kernels
    processes, counts = np.unique(kernels.rows["process"], return_counts=True)
    own = iterations.get(int(processes[np.argmax(counts)]), ())
    span_ms, busy_ms = busy.span / NS_PER_MS, busy.length / NS_PER_MS
    idle_ms, communication_ms = round(span_ms - busy_ms, 6), communication.length / NS_PER_MS
    return DeviceProfile(
        device=device,
        name=capture.names.get(device),
        span_ms=span_ms,
        busy_ms=busy_ms,
        busy_share=_share(busy_ms, span_ms),
        idle_ms=idle_ms,
        idle_share=_share(idle_ms, span_ms),
        communication_ms=communication_ms,
        communication_hidden_ms=hidden_ms,
        communication_exposed_ms=round(communication_ms - hidden_ms, 6),
        communication_hidden_share=_share(hidden_ms, communication_ms),
        classes_ms={kind: with_copies[kind].length / NS_PER_MS for kind in CLASSES},
        kernel_count=len(kernels),
        top_kernels=top_kernels(kernels, top),
        steps=measure_steps(own, capture.ranges, busy, communication, compute),
    )


def class_unions(kernels: Activity) -> dict[str, Union]:
    """Return the time covered by the kernels of each class."""
    kinds = np.array([CLASSES.index(classify(name)) for name in kernels.names], dtype=np.int64)
    each = kinds[kernels.rows["name"]]
    unions = {}
    for number, kind in enumerate(CLASSES):
        rows = kernels.rows[each == number]
        unions[kind] = union(rows["start"], rows["end"])
    return unions


def top_kernels(kernels: Activity, top: int) -> list[KernelTime]:
    """Return the kernels with the longest summed time."""
    size, names = len(kernels.names), kernels.rows["name"]
    lengths = (kernels.rows["end"] - kernels.rows["start"]).astype(np.float64)
    totals = np.bincount(names, weights=lengths, minlength=size)
    counts = np.bincount(names, minlength=size)
    return [
        {
            "name": kernels.names[index],
            "class": classify(kernels.names[index]),
            "total_ms": float(totals[index]) / NS_PER_MS,
            "count": int(counts[index]),
        }
        for index in np.argsort(-totals, kind="stable")[:top].tolist()
        if counts[index]
    ]


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

    Work that the GPU still has in its queue when an iteration ends is seen in the next one.
    """
    if not iterations:
        return None
    inner = iterations[1:-1] if len(iterations) >= 3 else iterations
    steps: list[Step] = []
    totals: dict[str, int] = defaultdict(int)
    for step in inner:
        duration = step.end - step.start
        within = [clip(part, step.start, step.end) for part in (busy, communication, compute)]
        exposed = within[1].length - overlap(within[1], within[2])
        steps.append(
            {
                "name": step.name,
                "duration_ms": duration / NS_PER_MS,
                "busy_share": within[0].length / duration,
                "communication_ms": within[1].length / NS_PER_MS,
                "communication_exposed_ms": exposed / NS_PER_MS,
            }
        )
        for each in right_inside(step, ranges):
            # Numbers in names are left out, so that repetitions add up.
            name = re.sub(r"(, (op_id|seq) = \d+.*|[\s_:#]*\d+)$", "", each.name.strip())
            totals[name] += each.end - each.start
    longest = sorted(totals.items(), key=lambda item: -item[1])[:PHASES_SHOWN]
    return {
        "mean_ms": fmean(step["duration_ms"] for step in steps),
        "dropped": len(iterations) - len(inner),
        "phases_ms": {name: total / len(inner) / NS_PER_MS for name, total in longest},
        "steps": steps,
    }


def right_inside(step: Range, ranges: Sequence[Range]) -> Iterator[Range]:
    """Yield the ranges of the step's thread right inside it, not those nested in another one."""
    reached = step.start
    first, last = (
        bisect_left(ranges, at, key=lambda each: each.start) for at in (step.start, step.end)
    )
    for each in ranges[first:last]:
        inside = each.thread == step.thread and each.end <= step.end and each is not step
        if inside and each.start >= reached:
            yield each
            reached = each.end
