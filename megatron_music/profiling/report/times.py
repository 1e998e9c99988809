"""Where the time of a configuration goes: by part, and the hardware over its run.

The parts are kernels where nsys traced it, else the run's phases. The hardware is GPUs by NVML, or
load and memory of the CPU.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from statistics import fmean
from typing import Literal, NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt

from megatron_music.costs.flops import Shape
from megatron_music.errors import MusicError
from megatron_music.profiling.nsight.analyze import CLASSES, Profile, step_durations_ms
from megatron_music.profiling.nsight.read import read_profile
from megatron_music.profiling.nvml.recording import read_samples
from megatron_music.profiling.sweep.capture import capture_file, capture_log
from megatron_music.profiling.sweep.results import GIB, Row, device_tflops
from megatron_music.profiling.sweep.trial import GPUS_FILE, LOAD_FILE
from megatron_music.train.run_dir import RunDir, read_log

EXPOSED, IDLE = "communication, exposed", "idle"


class TracedSteps(TypedDict):
    """The iterations of a capture against the run's log, in seconds; None where it is not known.

    `step_s` is by the NVTX ranges of the slowest device; `tflops` and `log_tflops` are a device's
    by these times; `hidden_share` is of the communication that other kernels hid.
    """

    iterations: int
    step_s: float
    tflops: float
    log_step_s: float | None
    log_tflops: float | None
    hidden_share: float | None


@dataclass(frozen=True)
class TimeBreakdown:
    """Shares of the time by part, about 1 together; `source` says what the parts are."""

    row: Row
    source: Literal["kernels", "phases"]
    shares: Mapping[str, float]
    traced: TracedSteps | None = None
    problem: str = ""
    """Why an existing capture could not be used."""


def time_breakdown(row: Row, folder: Path) -> TimeBreakdown | None:
    """Return a configuration's time by part, None where nothing was recorded.

    Kernels are shares of the time between a device's first and last one, mean over the devices.
    Phases are shares of the step time of the first process.
    """
    capture = capture_file(folder, row.key)
    # Kernels say more than phases, but only what nsys traced has them.
    if not capture.is_file():
        phases = row.phases_s
        total_s = sum(phases.values())
        if not total_s:
            return None
        return TimeBreakdown(
            row, "phases", {name: time_s / total_s for name, time_s in phases.items()}
        )
    try:
        profile = read_profile(capture)
    except MusicError as fault:
        return TimeBreakdown(row, "kernels", {}, problem=str(fault))
    run = RunDir(capture_log(folder, row.key))
    traced = compare(profile, row.shape, row.devices, run)
    return TimeBreakdown(row, "kernels", kernel_shares(profile), traced)


def kernel_shares(profile: Profile) -> dict[str, float]:
    """Return the share of the time by class of kernel, with exposed communication and idleness."""
    each = []
    for device in profile.devices:
        if device.span_ms:
            # What kernels hide costs nothing: only the exposed part is a share of the time.
            parts_ms = {
                **{kind: device.classes_ms[kind] for kind in CLASSES if kind != "communication"},
                EXPOSED: device.communication_exposed_ms,
                IDLE: device.idle_ms,
            }
            each.append({name: part_ms / device.span_ms for name, part_ms in parts_ms.items()})
    return {name: fmean(shares[name] for shares in each) for name in each[0]} if each else {}


def compare(profile: Profile, shape: Shape, devices: int, run: RunDir) -> TracedSteps | None:
    """Compare the iterations of a capture with the log of the run; None without iterations."""
    durations = [duration / 1000 for duration in step_durations_ms(profile)]
    if not durations:
        return None
    # The run's log has all its iterations: those that the capture counts are found by number.
    first = next(device.steps for device in profile.devices if device.steps)
    names = [step["name"] for step in first["steps"]]
    numbers = {int(found[0]) for name in names if (found := re.findall(r"\d+", name))}
    logged = [
        float(entry["step_time_s"])
        for entry in read_log(run)
        if entry["iteration"] in numbers and "step_time_s" in entry
    ]
    log_step_s = fmean(logged) if logged else None
    hidden = [device.communication_hidden_share for device in profile.devices]
    shares = [share for share in hidden if share is not None]
    return {
        "iterations": len(durations),
        "step_s": fmean(durations),
        "tflops": device_tflops(shape, devices, fmean(durations)),
        "log_step_s": log_step_s,
        "log_tflops": None if log_step_s is None else device_tflops(shape, devices, log_step_s),
        "hidden_share": fmean(shares) if shares else None,
    }


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
