"""What NVML says about every GPU at one moment, as plain data.

None stands for what a GPU, its driver or this moment does not offer. Counters (energy, bytes) only
ever grow: the difference of two samples is what was used between them.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from megatron_music.errors import InputError

MIG_REMARK = (
    "a GPU that is split by MIG has no utilization of its own, and its memory, power and energy "
    "are those of all its parts together"
)


@dataclass(frozen=True)
class DeviceSample:
    """One GPU at one moment."""

    index: int
    """Its place in NVML's own order, which CUDA_VISIBLE_DEVICES does not change."""
    uuid: str | None = None
    name: str | None = None
    lost: bool = False
    """The GPU fell off the bus or needs a reset: nothing else is known of it."""
    mig_uuids: tuple[str, ...] | None = None
    """Of the MIG devices that it is split into. NVML counts no utilization for such a GPU, and
    memory, power and energy are those of the whole GPU."""
    gpu_utilization: int | None = None
    """Percent of the last interval in which some kernel ran; says nothing of how well it ran."""
    memory_utilization: int | None = None
    """Percent of the last interval in which memory was read or written."""
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    temperature_c: int | None = None
    fan_percent: int | None = None
    performance_state: int | None = None
    """0 is the fastest, shown as P0."""
    throttle_reasons: tuple[str, ...] | None = None
    """Why the clocks are below their maximum; an idle GPU is not throttled."""
    energy_mj: int | None = None
    """Counter, millijoules since the driver was loaded."""
    pcie_tx_bytes: int | None = None
    """Counter, bytes sent over PCIe."""
    pcie_rx_bytes: int | None = None
    """Counter, bytes received over PCIe."""
    pcie_tx_bytes_per_s: int | None = None
    """Rate over 20 ms, where there is no counter and the slow query was asked for."""
    pcie_rx_bytes_per_s: int | None = None
    nvlink_tx_bytes: int | None = None
    """Counter, payload bytes sent over all NVLinks."""
    nvlink_rx_bytes: int | None = None
    """Counter, payload bytes received over all NVLinks."""


@dataclass(frozen=True)
class Sample:
    """All GPUs at one moment; `time_s` is Unix time in seconds."""

    time_s: float
    devices: tuple[DeviceSample, ...]


def to_json(sample: Sample) -> str:
    """Return a sample as one line of JSON; what is not known is left out."""
    devices = [
        {
            key: value
            for key, value in vars(device).items()
            if value is not None and value is not False
        }
        for device in sample.devices
    ]
    return json.dumps({"time_s": sample.time_s, "devices": devices}, separators=(",", ":"))


def from_json(line: str) -> Sample:
    """Return the sample that a line of JSON holds; raises InputError."""
    try:
        read = json.loads(line)
        return Sample(float(read["time_s"]), tuple(map(_device, read["devices"])))
    except (ValueError, TypeError, KeyError, AttributeError) as fault:
        raise InputError(f"'{line.strip()[:40]}' is no sample of NVML; record it again") from fault


def select(sample: Sample, uuids: Iterable[str] | None) -> Sample:
    """Return the sample with the GPUs of these UUIDs alone, in the given order; None means all.

    NVML and CUDA number GPUs differently, and NVML knows nothing of CUDA_VISIBLE_DEVICES: only
    the UUID says which is which. The prefix `GPU-`, which torch leaves out, does not matter. A MIG
    device, `MIG-` and its UUID, stands for the GPU that it is a part of.
    """
    if uuids is None:
        return sample
    by_uuid = {
        plain_uuid(uuid): device
        for device in sample.devices
        for uuid in (device.uuid, *(device.mig_uuids or ()))
        if uuid
    }
    wanted = [plain_uuid(uuid) for uuid in uuids]
    if missing := [uuid for uuid in wanted if uuid not in by_uuid]:
        known = ", ".join(by_uuid) or "none"
        raise InputError(f"NVML knows no GPU {missing[0]}; it knows: {known}")
    return Sample(sample.time_s, tuple(by_uuid[uuid] for uuid in wanted))


def plain_uuid(uuid: str) -> str:
    """Return a UUID in small letters without NVML's prefix."""
    return uuid.strip().lower().removeprefix("gpu-").removeprefix("mig-")


def _device(read: dict[str, Any]) -> DeviceSample:
    known = {field.name for field in fields(DeviceSample)}
    given = {key: value for key, value in read.items() if key in known}
    for name in ("throttle_reasons", "mig_uuids"):
        if name in given:
            given[name] = tuple(given[name])
    return DeviceSample(**given)
