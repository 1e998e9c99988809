"""Hardware over the time of a run: utilisation and power by NVML, or load and memory of the CPU."""

import json
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.errors import MusicError
from megatron_music.profiling.nvml.summary import read_samples
from megatron_music.profiling.sweep.results import Row
from megatron_music.profiling.sweep.trial import GPUS_FILE, LOAD_FILE

GIB = 1 << 30


class Series(NamedTuple):
    """A quantity over time, of one GPU or several."""

    heading: str
    time_s: npt.NDArray[np.float64]
    """Seconds since the recording began, [n]."""
    values: npt.NDArray[np.float64]
    """[n, GPUs]; NaN where a GPU did not tell, but no row of these alone."""
    top: float | None = None
    """The largest value there can be."""


Quantities = dict[str, list[list[float | None]]]
"""Values [n][GPUs] by the heading of what was recorded."""


class Timeline(NamedTuple):
    """A run's hardware, and when the warm-up and the last iteration ended, if that is known.

    Both in seconds since the recording began.
    """

    series: list[Series]
    measured_s: tuple[float, float] | None


def read_timeline(row: Row, folder: Path) -> Timeline | None:
    """Return what was recorded around a row's run in a sweep's folder, None where nothing was."""
    run = folder / "runs" / row.key
    # A run on GPUs has a recording of NVML, one on a CPU the load of the machine.
    for file, read in ((GPUS_FILE, _gpus), (LOAD_FILE, _load)):
        try:
            time_s, recorded = read(run / file)
        except (MusicError, OSError):
            continue
        series = []
        for heading, values in recorded.items():
            # A GPU may be missing from some samples.
            table = np.array([*zip_longest(*values)], np.float64).T
            known = ~np.isnan(table).all(axis=1) if table.size else np.zeros(0, np.bool_)
            if known.any():
                times = np.array(time_s)[known] - time_s[0]
                top = 100.0 if heading.endswith("%") else None
                series.append(Series(heading, times, table[known], top))
        if series:
            measured = None
            if row.started_s is not None and row.ended_s is not None:
                measured = row.started_s - time_s[0], row.ended_s - time_s[0]
            return Timeline(series, measured)
    return None


def _gpus(path: Path) -> tuple[list[float], Quantities]:
    samples = read_samples(path)
    return [sample.time_s for sample in samples], {
        "GPU utilisation, %": [[gpu.gpu_utilization for gpu in s.devices] for s in samples],
        "power of a GPU, W": [[gpu.power_w for gpu in s.devices] for s in samples],
    }


def _load(path: Path) -> tuple[list[float], Quantities]:
    """Read the lines of a recording, without one that was cut short."""
    rows: list[tuple[float, float, float]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError, TypeError, KeyError):
            load = json.loads(line)
            held_gib = load["memory_used_bytes"] / GIB
            rows.append((load["time_s"], load["cpu_percent"], held_gib))
    return [time_s for time_s, _, _ in rows], {
        "CPU load of the machine, %": [[busy] for _, busy, _ in rows],
        "memory in use, GiB": [[held_gib] for _, _, held_gib in rows],
    }
