"""Summaries of a recording: means, maxima, and the energy from the GPUs' own counters."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import TypeVar

from megatron_music.errors import InputError
from megatron_music.profiling.nvml.reader import DeviceSample, Sample, from_json, plain_uuid

MJ_PER_J = 1000

Value = TypeVar("Value")


@dataclass(frozen=True)
class DeviceSummary:
    """One GPU over a recording; None where its samples lack a figure."""

    uuid: str | None
    name: str | None
    samples: int
    mean_utilization: float | None
    """Percent, mean over the samples; a share of time with some kernel, not of the peak."""
    max_utilization: int | None
    max_memory_bytes: int | None
    mean_sm_clock_mhz: float | None
    mean_power_w: float | None
    max_power_w: float | None
    max_temperature_c: int | None
    energy_j: float | None
    """From the energy counter, never from summed power."""
    pcie_bytes: int | None
    """Sent and received over PCIe."""
    nvlink_bytes: int | None
    """Sent and received over NVLink."""
    throttled: dict[str, float]
    """Share of the samples in which each reason held the clocks down."""
    lost: bool
    """The GPU was lost at some time."""
    is_mig: bool = False
    """The GPU was split: its figures are those of all its parts together."""


@dataclass(frozen=True)
class Summary:
    """A recording: its length in seconds, and each GPU."""

    duration_s: float
    devices: tuple[DeviceSummary, ...]

    @property
    def energy_j(self) -> float | None:
        """Energy of all GPUs in joules, None if one of them does not count it."""
        values = [device.energy_j for device in self.devices]
        known = _known(values)
        return sum(known) if known and len(known) == len(values) else None

    def joules_per_million_tokens(self, tokens: int) -> float | None:
        """Return the energy of a million tokens, where `tokens` were processed meanwhile."""
        if tokens <= 0:
            raise InputError(f"cannot share energy among {tokens} tokens; at least 1 is needed")
        return None if self.energy_j is None else self.energy_j / tokens * 1e6


def read_samples(path: Path) -> list[Sample]:
    """Return the samples of a recording; a last line that was cut off is left out."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as fault:
        raise InputError(f"cannot read {path}: {fault.strerror}; check the name") from fault
    # What follows the last line end is empty, or a line that a kill cut off.
    *whole, _cut = lines
    samples = []
    for number, line in enumerate(whole, start=1):
        try:
            samples.append(from_json(line))
        except InputError as fault:
            raise InputError(f"{path}, line {number}: {fault}") from fault
    if not samples:
        raise InputError(f"{path} holds no sample; record it again")
    return samples


def summarize(
    samples: Sequence[Sample],
    start_s: float | None = None,
    end_s: float | None = None,
) -> Summary:
    """Sum up the samples between two moments (Unix time), such as those after the warm-up."""
    chosen = [
        sample
        for sample in samples
        if (start_s is None or sample.time_s >= start_s)
        and (end_s is None or sample.time_s <= end_s)
    ]
    if not chosen:
        raise InputError(f"none of {len(samples)} samples is in the requested time")
    found: dict[str, list[DeviceSample]] = {}
    for sample in chosen:
        for device in sample.devices:
            # By UUID: a driver that restarts may number the GPUs otherwise.
            key = plain_uuid(device.uuid) if device.uuid else f"index {device.index}"
            found.setdefault(key, []).append(device)
    devices = list(found.values())
    return Summary(chosen[-1].time_s - chosen[0].time_s, tuple(map(_device, devices)))


def _device(samples: Sequence[DeviceSample]) -> DeviceSummary:
    use = _known(sample.gpu_utilization for sample in samples)
    power = _known(sample.power_w for sample in samples)
    clock = _known(sample.sm_clock_mhz for sample in samples)
    energy = _used(sample.energy_mj for sample in samples)
    reasons = Counter(reason for sample in samples for reason in sample.throttle_reasons or ())
    return DeviceSummary(
        uuid=samples[0].uuid,
        name=samples[0].name,
        samples=len(samples),
        mean_utilization=fmean(use) if use else None,
        max_utilization=max(use, default=None),
        max_memory_bytes=max(_known(sample.memory_used_bytes for sample in samples), default=None),
        mean_sm_clock_mhz=fmean(clock) if clock else None,
        mean_power_w=fmean(power) if power else None,
        max_power_w=max(power, default=None),
        max_temperature_c=max(_known(sample.temperature_c for sample in samples), default=None),
        energy_j=None if energy is None else energy / MJ_PER_J,
        pcie_bytes=_sum(
            _used(sample.pcie_tx_bytes for sample in samples),
            _used(sample.pcie_rx_bytes for sample in samples),
        ),
        nvlink_bytes=_sum(
            _used(sample.nvlink_tx_bytes for sample in samples),
            _used(sample.nvlink_rx_bytes for sample in samples),
        ),
        throttled={reason: count / len(samples) for reason, count in reasons.most_common()},
        lost=any(sample.lost for sample in samples),
        is_mig=any(sample.mig_uuids is not None for sample in samples),
    )


def _known(values: Iterable[Value | None]) -> list[Value]:
    return [value for value in values if value is not None]


def _used(counter: Iterable[int | None]) -> int | None:
    """Return by how much a counter grew; a reset of the driver sets it to 0."""
    values = _known(counter)
    if len(values) < 2:
        return None
    return sum(after - before if after >= before else after for before, after in pairwise(values))


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
