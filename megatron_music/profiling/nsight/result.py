"""What a capture says, as plain data. Times are in milliseconds, shares between 0 and 1."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any


@dataclass(frozen=True)
class KernelTime:
    """All launches of one kernel; `total_ms` is summed, so launches side by side count twice."""

    name: str
    kind: str
    """Its class, one of `kernels.CLASSES`."""
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
    thread that ran the iteration: what the CPU waited for, which the GPU may lag behind."""

    @property
    def durations_ms(self) -> tuple[float, ...]:
        """How long each iteration took."""
        return tuple(step.duration_ms for step in self.steps)


@dataclass(frozen=True)
class DeviceProfile:
    """One GPU during the capture.

    The window reaches from its first kernel's start to its last one's end. `busy` is the union of
    its kernels, `idle` the rest of the window, whether or not a copy engine was at work.
    `communication_hidden` is the part of the communication during which another kernel ran.
    """

    device: int
    name: str | None
    span_ms: float
    busy_ms: float
    communication_ms: float
    communication_hidden_ms: float
    classes_ms: Mapping[str, float]
    """Per class the union of its own kernels (copies and fills count as memory): classes that
    run side by side add up to more than `busy_ms`."""
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
        """Communication during which nothing else ran."""
        return _rest(self.communication_ms, self.communication_hidden_ms)

    @property
    def communication_hidden_share(self) -> float | None:
        """The share of the communication that ran behind compute; None if there was none."""
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
    return {
        "file": str(profile.file),
        "devices": [_device(device) for device in profile.devices],
        "step_durations_ms": list(step_durations_ms(profile)),
        "notes": list(profile.notes),
    }


def _device(device: DeviceProfile) -> dict[str, Any]:
    return {
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
        "steps": None if device.steps is None else _steps(device.steps),
    }


def _steps(steps: Steps) -> dict[str, Any]:
    return {
        "mean_ms": fmean(steps.durations_ms),
        "dropped": steps.dropped,
        "phases_ms": dict(steps.phases_ms),
        "steps": [asdict(step) for step in steps.steps],
    }


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _rest(whole: float, part: float) -> float:
    return round(whole - part, 6)
