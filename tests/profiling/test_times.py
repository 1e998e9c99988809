"""Where the time goes: shares worked by hand, the log of the same iterations, lines over a run."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from megatron_music.profiling.nvml.reader import DeviceSample, Sample, to_json
from megatron_music.profiling.report.times import (
    EXPOSED,
    IDLE,
    TimeBreakdown,
    Timeline,
    read_timeline,
    time_breakdown,
)
from megatron_music.profiling.sweep.capture import capture_file, capture_log
from megatron_music.profiling.sweep.hardware import LoadRecorder
from megatron_music.profiling.sweep.trial import GPUS_FILE, LOAD_FILE
from tests.profiling.capture import FLASH, GEMM, NCCL, Capture
from tests.profiling.test_report import RAN

STEP_MS = 200
"""As long as a step of `RAN`, whose figures are worked by hand in test_report.py."""

ONE = replace(RAN, phases_s={"forward": 0.05, "backward": 0.1, "optimizer": 0.05})


def two_gpus(folder: Path, steps: int = 5, step_ms: int = STEP_MS) -> None:
    """Export a capture of two GPUs, and the log of its run.

    In each step products for half of it; exchange for a quarter, of which products hide two
    fifths; attention for a tenth, alone.
    """
    capture = Capture()
    for device, pid in ((0, 7), (1, 8)):
        for number in range(steps):
            start = number * step_ms
            capture.range(f"iteration {number + 4}", start, start + step_ms, pid=pid)
            capture.kernel(GEMM, start, start + step_ms // 2, device, pid)
            exchange = start + step_ms * 4 // 10
            capture.kernel(NCCL, exchange, exchange + step_ms // 4, device, pid, stream=20)
            capture.kernel(FLASH, start + step_ms * 9 // 10, start + step_ms, device, pid)
    capture_file(folder, ONE.key).parent.mkdir(parents=True)
    capture.write(capture_file(folder, ONE.key))
    log = capture_log(folder, ONE.key) / "log.jsonl"
    log.parent.mkdir()
    lines = [{"iteration": at, "step_time_s": 9.0} for at in (3, 4, 8)]
    lines += [{"iteration": at, "step_time_s": 0.201} for at in (5, 6, 7)]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))


def breakdown(folder: Path) -> TimeBreakdown:
    found = time_breakdown(ONE, folder)
    assert found is not None
    return found


def test_a_capture_gives_shares_of_the_time_and_agrees_with_the_log_of_the_same_iterations(
    tmp_path: Path,
) -> None:
    """87,552 FLOPs by model_causal on two devices in 0.2 s; the boundary steps count in neither."""
    two_gpus(tmp_path)
    found = breakdown(tmp_path)
    assert found.source == "kernels"
    # Hidden communication is not counted twice.
    shares = {"gemm": 0.5, "attention": 0.1, EXPOSED: 0.15, IDLE: 0.25}
    assert {name: share for name, share in found.shares.items() if share} == pytest.approx(shares)
    expected = {"iterations": 3, "step_s": 0.2, "tflops": 2.1888e-7, "log_step_s": 0.201}
    expected |= {"log_tflops": 2.1888e-7 * 0.2 / 0.201, "hidden_share": 0.4}
    assert found.traced == pytest.approx(expected)
    (capture_log(tmp_path, ONE.key) / "log.jsonl").unlink()
    without = breakdown(tmp_path).traced
    assert without is not None
    assert without["log_tflops"] is None


def test_a_damaged_capture_is_reported_and_the_rest_shown(tmp_path: Path) -> None:
    file = capture_file(tmp_path, ONE.key)
    file.parent.mkdir(parents=True)
    file.write_text("no database")
    found = breakdown(tmp_path)
    assert (found.shares, found.traced) == ({}, None)
    assert "neither an SQLite export nor a CSV" in found.problem


def test_without_a_capture_a_run_on_a_cpu_tells_its_phases(tmp_path: Path) -> None:
    found = breakdown(tmp_path)
    assert found.source == "phases"
    assert found.shares == {"forward": 0.25, "backward": 0.5, "optimizer": 0.25}
    assert time_breakdown(RAN, tmp_path) is None


ROW = replace(RAN, started_s=1002.0, ended_s=1003.0)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The run's folder in a sweep's."""
    folder = tmp_path / "runs" / ROW.key
    folder.mkdir(parents=True)
    return folder


def timeline(folder: Path, *samples: Sample) -> Timeline:
    """Return the timeline of a row, with a recording of NVML where there are samples."""
    if samples:
        text = "".join(to_json(sample) + "\n" for sample in samples)
        (folder / "runs" / ROW.key / GPUS_FILE).write_text(text)
    found = read_timeline(ROW, folder)
    assert found is not None
    return found


@pytest.mark.usefixtures("run")
def test_the_gpus_are_drawn_by_their_mean_and_extremes(tmp_path: Path) -> None:
    (use, power), measured = timeline(
        tmp_path,
        Sample(1000.0, (gpu(0, 0, 60), gpu(1, 0, 50))),
        Sample(1002.5, (gpu(0, 90, 300), gpu(1, 100, None))),
    )
    assert (use.time_s.tolist(), use.values.tolist(), use.top) == (
        [0, 2.5],
        [[0, 0], [90, 100]],
        100,
    )
    assert power.values[0].tolist() == [60, 50]
    assert np.nanmean(power.values[1]) == 300, "a GPU that does not tell is left out"
    assert measured == (2.0, 3.0)


def gpu(index: int, use: int, power_w: float | None) -> DeviceSample:
    return DeviceSample(index, f"GPU-{index}", "X1", gpu_utilization=use, power_w=power_w)


@pytest.mark.usefixtures("run")
def test_a_gpu_may_tell_no_power_and_be_missing_from_some_samples(tmp_path: Path) -> None:
    first = Sample(1000.0, (gpu(0, 5, None), gpu(1, 7, None)))
    found = timeline(tmp_path, first, Sample(1001.0, (gpu(0, 6, None),)))
    assert [series.heading for series in found.series] == ["GPU utilisation, %"]
    assert np.nanmean(found.series[0].values, 1).tolist() == [6, 6]


def test_without_gpus_the_machines_load_is_drawn(tmp_path: Path, run: Path) -> None:
    lines = [
        {"time_s": 1000.0 + at, "cpu_percent": 50.0, "memory_used_bytes": 2 << 30} for at in (0, 1)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"time_s": 10'  # cut short
    (run / LOAD_FILE).write_text(text)
    found = timeline(tmp_path).series
    assert [series.values[:, 0].tolist() for series in found] == [[50, 50], [2, 2]]


def test_where_nothing_was_recorded_there_is_no_timeline(tmp_path: Path, run: Path) -> None:
    assert read_timeline(ROW, tmp_path) is None
    (run / LOAD_FILE).touch()
    assert read_timeline(ROW, tmp_path) is None


def test_the_load_is_written_at_most_twice_a_second(tmp_path: Path) -> None:
    recorder = LoadRecorder(tmp_path / "load.jsonl")
    begin = time.monotonic()
    while time.monotonic() - begin < 1.2:
        recorder.poll()
        time.sleep(0.01)
    loads = [json.loads(line) for line in (tmp_path / "load.jsonl").read_text().splitlines()]
    assert len(loads) == 2
    assert all(0 <= load["cpu_percent"] <= 100 and load["memory_used_bytes"] > 0 for load in loads)
