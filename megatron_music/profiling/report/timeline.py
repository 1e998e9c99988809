"""Hardware over the time of a run: utilisation and power by NVML, or load and memory of the CPU."""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from megatron_music.errors import MusicError
from megatron_music.profiling.nvml.summary import read_samples
from megatron_music.profiling.sweep.hardware import read_load
from megatron_music.profiling.sweep.results import Row
from megatron_music.profiling.sweep.trial import GPUS_FILE, LOAD_FILE

GIB = 1 << 30


@dataclass(frozen=True)
class Series:
    """A quantity over time; `low` and `high` are the extremes over the GPUs, `mean` their mean."""

    heading: str
    time_s: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    top: float | None = None
    """The largest value there can be."""


@dataclass(frozen=True)
class Timeline:
    """A run's hardware; times are seconds since the recording began."""

    row: Row
    series: tuple[Series, ...]
    measured: tuple[float, float] | None
    """From the end of the warm-up to the last iteration."""


def read_timeline(row: Row, folder: Path) -> Timeline | None:
    """Return what was recorded around a row's run in a sweep's folder, None where nothing was."""
    run = folder / "runs" / row.key
    # A run on GPUs has a recording of NVML, one on a CPU the load of the machine.
    for file, read in ((GPUS_FILE, _gpus), (LOAD_FILE, _load)):
        try:
            begin_s, series = read(run / file)
        except MusicError:
            continue
        if series:
            measured = None
            if row.started_s is not None and row.ended_s is not None:
                measured = row.started_s - begin_s, row.ended_s - begin_s
            return Timeline(row, series, measured)
    return None


def _gpus(path: Path) -> tuple[float, tuple[Series, ...]]:
    samples = read_samples(path)
    begin_s = samples[0].time_s
    found = []
    for heading, name, top in (
        ("GPU utilisation, %", "gpu_utilization", 100.0),
        ("power of a GPU, W", "power_w", None),
    ):
        values = [[getattr(gpu, name) for gpu in sample.devices] for sample in samples]
        known = [
            (sample.time_s - begin_s, [value for value in row if value is not None])
            for sample, row in zip(samples, values, strict=True)
        ]
        found.append(_series(heading, [one for one in known if one[1]], top))
    return begin_s, tuple(series for series in found if series.time_s)


def _load(path: Path) -> tuple[float, tuple[Series, ...]]:
    loads = read_load(path)
    if not loads:
        return 0.0, ()
    begin_s = loads[0].time_s
    busy = [(load.time_s - begin_s, [load.cpu_percent]) for load in loads]
    held = [(load.time_s - begin_s, [load.memory_used_bytes / GIB]) for load in loads]
    return begin_s, (
        _series("CPU load of the machine, %", busy, 100.0),
        _series("memory in use, GiB", held, None),
    )


def _series(heading: str, values: list[tuple[float, list[float]]], top: float | None) -> Series:
    return Series(
        heading,
        tuple(time_s for time_s, _ in values),
        tuple(fmean(each) for _, each in values),
        tuple(min(each) for _, each in values),
        tuple(max(each) for _, each in values),
        top,
    )
