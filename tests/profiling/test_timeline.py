"""What was recorded around a run, as lines over its time."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from megatron_music.profiling.nvml.reader import DeviceSample, Sample, to_json
from megatron_music.profiling.report.times import Timeline, read_timeline
from megatron_music.profiling.sweep.hardware import LoadRecorder
from megatron_music.profiling.sweep.trial import GPUS_FILE, LOAD_FILE
from tests.profiling.test_report import RAN

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
