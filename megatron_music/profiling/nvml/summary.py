"""Summaries of a recording: means, maxima, and the energy from the GPUs' own counters."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import NamedTuple, TypeVar

from megatron_music.errors import InputError
from megatron_music.profiling.nvml.reader import DeviceSample, Sample, from_json, plain_uuid

MJ_PER_J = 1000

Value = TypeVar("Value")


class DeviceSummary(NamedTuple):
    """One GPU over a recording; None where its samples lack a figure."""

    samples: int
    mean_utilization: float | None
    """Percent, mean over the samples; a share of time with some kernel, not of the peak."""
    max_memory_bytes: int | None
    mean_sm_clock_mhz: float | None
    mean_power_w: float | None
    max_temperature_c: int | None
    energy_j: float | None
    """From the energy counter, never from summed power."""
    throttled: dict[str, float]
    """Share of the samples in which each reason held the clocks down."""
    is_mig: bool
    """The GPU was split: its figures are those of all its parts together."""

    @classmethod
    def of(cls, samples: Sequence[DeviceSample]) -> "DeviceSummary":
        """Sum up the samples of one GPU."""
        energy_mj = _used(sample.energy_mj for sample in samples)
        memory = _known(sample.memory_used_bytes for sample in samples)
        reasons = Counter(one for sample in samples for one in sample.throttle_reasons or ())
        return cls(
            samples=len(samples),
            mean_utilization=_mean(sample.gpu_utilization for sample in samples),
            max_memory_bytes=max(memory, default=None),
            mean_sm_clock_mhz=_mean(sample.sm_clock_mhz for sample in samples),
            mean_power_w=_mean(sample.power_w for sample in samples),
            max_temperature_c=max(_known(one.temperature_c for one in samples), default=None),
            energy_j=None if energy_mj is None else energy_mj / MJ_PER_J,
            throttled={reason: count / len(samples) for reason, count in reasons.most_common()},
            is_mig=any(sample.mig_uuids is not None for sample in samples),
        )


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
    samples: Sequence[Sample], start_s: float | None = None, end_s: float | None = None
) -> tuple[float, list[DeviceSummary]]:
    """Sum up the samples between two moments (Unix time), such as those after the warm-up.

    Returns their length in seconds, and each GPU.
    """
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
    return chosen[-1].time_s - chosen[0].time_s, [DeviceSummary.of(one) for one in found.values()]


def total_energy_j(devices: Sequence[DeviceSummary]) -> float | None:
    """Return the energy of all GPUs, None if one of them does not count it."""
    known = _known(device.energy_j for device in devices)
    return sum(known) if known and len(known) == len(devices) else None


def _known(values: Iterable[Value | None]) -> list[Value]:
    return [value for value in values if value is not None]


def _mean(values: Iterable[float | None]) -> float | None:
    known = _known(values)
    return fmean(known) if known else None


def _used(counter: Iterable[int | None]) -> int | None:
    """Return by how much a counter grew; a reset of the driver sets it to 0."""
    values = _known(counter)
    if len(values) < 2:
        return None
    return sum(after - before if after >= before else after for before, after in pairwise(values))
