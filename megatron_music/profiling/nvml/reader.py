"""Read GPUs through NVML (nvidia-ml-py); every field may be missing independently."""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from functools import partial
from types import ModuleType
from typing import Any, TypeVar

from megatron_music.errors import InputError
from megatron_music.nvidia import ask, nvml

KIB = 1024
Number = TypeVar("Number", int, float)

ALL_LINKS = 0xFFFFFFFF
"""The scope that adds up all NVLinks of a GPU."""

THROTTLE_REASONS = {
    0x002: "application clocks",
    0x004: "power cap",
    0x008: "hardware slowdown",
    0x010: "sync boost",
    0x020: "thermal, software",
    0x040: "thermal, hardware",
    0x080: "power brake",
    0x100: "display clocks",
}
"""Bits of NVML's mask of reasons; bit 0, an idle GPU, does not count as throttling."""

MIG_REMARK = (
    "a GPU that is split by MIG has no utilization, and its memory, power and energy "
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
    """The GPU fell off the bus or needs a reset; the other fields are unknown."""
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


class Reader:
    """An open NVML; make one with `open_nvml`."""

    def __init__(self, nvml: ModuleType, slow: bool) -> None:
        self._nvml = nvml
        self._slow = slow
        self._gpus = [self._open(index) for index in range(nvml.nvmlDeviceGetCount())]

    def sample(self) -> Sample:
        """Read every GPU now."""
        devices = []
        for handle, gpu in self._gpus:
            device = None
            # A GPU may be lost at any query, and come back: the next sample asks it again.
            with suppress(self._nvml.NVMLError):
                device = None if handle is None else self._fields(handle, gpu)
            devices.append(device or DeviceSample(gpu.index, gpu.uuid, gpu.name, lost=True))
        return Sample(time.time(), tuple(devices))

    def ask(self, handle: Any, what: str, *arguments: Any) -> Any:
        """Return NVML's answer to `nvmlDeviceGet<what>`, None where it has none for this GPU."""
        return ask(self._nvml, f"nvmlDeviceGet{what}", handle, *arguments)

    def _open(self, index: int) -> tuple[Any, DeviceSample]:
        """Return a GPU's handle, and what never changes about the GPU: asked for once."""
        nvml = self._nvml
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            limit = self.ask(handle, "EnforcedPowerLimit")
            uuid, name = self.ask(handle, "UUID"), self.ask(handle, "Name")
            mig_uuids = None
            mode = self.ask(handle, "MigMode")
            if mode is not None and mode[0] == nvml.NVML_DEVICE_MIG_ENABLE:
                most = self.ask(handle, "MaxMigDeviceCount") or 0
                parts = [self.ask(handle, "MigDeviceHandleByIndex", part) for part in range(most)]
                uuids = [self.ask(part, "UUID") for part in parts if part is not None]
                mig_uuids = tuple(str(one) for one in uuids if one is not None)
        except nvml.NVMLError:
            return None, DeviceSample(index)
        power_limit_w = _scaled(limit, 1e-3)
        told = DeviceSample(index, uuid, name, mig_uuids=mig_uuids, power_limit_w=power_limit_w)
        return handle, told

    def _fields(self, handle: Any, gpu: DeviceSample) -> DeviceSample:
        nvml, ask = self._nvml, partial(self.ask, handle)
        use = ask("UtilizationRates")
        # The memory as nvidia-smi shows it: without what the driver keeps for itself
        memory = ask("MemoryInfo", nvml.nvmlMemory_v2) or ask("MemoryInfo")
        counters = self._counters(handle)
        rates: list[int | None] = [None, None]
        # Each direction blocks for 20 ms: ten samples a second of eight GPUs would not fit.
        if self._slow and counters[0] is None:
            directions = (nvml.NVML_PCIE_UTIL_TX_BYTES, nvml.NVML_PCIE_UTIL_RX_BYTES)
            rates = [_scaled(ask("PcieThroughput", one), KIB) for one in directions]
        # Renamed by NVML; older drivers know only the second name.
        mask = ask("CurrentClocksEventReasons")
        if mask is None:
            mask = ask("CurrentClocksThrottleReasons")
        reasons = None
        if mask is not None:
            reasons = tuple(one for bit, one in THROTTLE_REASONS.items() if int(mask) & bit)
        return replace(
            gpu,
            gpu_utilization=None if use is None else use.gpu,
            memory_utilization=None if use is None else use.memory,
            memory_used_bytes=None if memory is None else memory.used,
            memory_total_bytes=None if memory is None else memory.total,
            sm_clock_mhz=ask("ClockInfo", nvml.NVML_CLOCK_SM),
            memory_clock_mhz=ask("ClockInfo", nvml.NVML_CLOCK_MEM),
            power_w=_scaled(ask("PowerUsage"), 1e-3),
            temperature_c=ask("Temperature", nvml.NVML_TEMPERATURE_GPU),
            fan_percent=ask("FanSpeed"),
            performance_state=ask("PerformanceState"),
            throttle_reasons=reasons,
            energy_mj=ask("TotalEnergyConsumption"),
            pcie_tx_bytes=counters[0],
            pcie_rx_bytes=counters[1],
            pcie_tx_bytes_per_s=rates[0],
            pcie_rx_bytes_per_s=rates[1],
            nvlink_tx_bytes=counters[2],
            nvlink_rx_bytes=counters[3],
        )

    def _counters(self, handle: Any) -> tuple[int | None, ...]:
        """Return bytes sent and received over PCIe, then over NVLink."""
        nvml = self._nvml
        wanted = (
            (nvml.NVML_FI_DEV_PCIE_COUNT_TX_BYTES, 0, 1),
            (nvml.NVML_FI_DEV_PCIE_COUNT_RX_BYTES, 0, 1),
            # NVLink's counters count KiB of payload, PCIe's bytes.
            (nvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX, ALL_LINKS, KIB),
            (nvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX, ALL_LINKS, KIB),
        )
        kinds = {
            nvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
            nvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
            nvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
            nvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
        }
        asked = [(field, scope) for field, scope, _ in wanted]
        values = self.ask(handle, "FieldValues", asked)
        if values is None:
            return (None,) * len(wanted)
        return tuple(
            int(getattr(value.value, kinds[value.valueType])) * unit
            if value.nvmlReturn == nvml.NVML_SUCCESS and value.valueType in kinds
            else None
            for value, (_, _, unit) in zip(values, wanted, strict=True)
        )


@contextmanager
def open_nvml(slow: bool = False) -> Iterator[Reader]:
    """Open NVML and close it again; raises MissingError where there is none.

    `slow` allows queries that take 20 ms or more for each GPU: too slow for ten samples a second.
    """
    with nvml() as module:
        yield Reader(module, slow)


def _scaled(value: Number | None, factor: Number) -> Number | None:
    return None if value is None else value * factor


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
        known = {field.name for field in fields(DeviceSample)}
        devices = []
        for device in read["devices"]:
            # Fields that this version does not know are left out, so that it reads newer records.
            given = {key: value for key, value in device.items() if key in known}
            for name in ("throttle_reasons", "mig_uuids"):
                if name in given:
                    given[name] = tuple(given[name])
            devices.append(DeviceSample(**given))
        return Sample(float(read["time_s"]), tuple(devices))
    except (ValueError, TypeError, KeyError, AttributeError) as fault:
        shown = line.strip()[:40]
        raise InputError(f"'{shown}' is not a sample of NVML; record it again") from fault


def select(sample: Sample, uuids: Iterable[str] | None) -> Sample:
    """Return the sample with the GPUs of these UUIDs alone, in the given order; None means all.

    NVML and CUDA number GPUs differently, and NVML knows nothing of CUDA_VISIBLE_DEVICES: only
    the UUID says which is which. The prefix `GPU-`, which torch leaves out, does not matter. A MIG
    device, `MIG-` and its UUID, selects the GPU that it is a part of.
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
