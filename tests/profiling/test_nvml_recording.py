"""Recordings: by a process of its own, gone when it is not needed; what they amount to."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from megatron_music.errors import InputError, MissingError, UsageError, WriteError
from megatron_music.profiling.nvml.reader import DeviceSample, Sample, to_json
from megatron_music.profiling.nvml.recording import (
    read_samples,
    record,
    summarize,
    total_energy_j,
)

SECOND = "GPU-00000000-0000-0000-0000-000000000001"
PATIENCE_S = 20.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a recording goes."""
    return tmp_path / "gpus.jsonl"


@pytest.fixture
def machine(driver: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with two GPUs for the processes that the test starts."""
    for name, value in driver.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def eventually(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(0.02)
    return False


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.usefixtures("machine")
def test_the_recorder_lives_as_long_as_the_block_that_may_fail(file: Path) -> None:
    class BlockError(Exception):
        pass

    def look_and_fail(pid: int) -> None:
        assert not gone(pid)
        assert len(file.read_text().splitlines()) >= 1, "the first sample is there at once"
        raise BlockError

    with pytest.raises(BlockError), record(file) as recording:
        look_and_fail(recording.pid)
    assert gone(recording.pid)
    assert recording.problem is None
    assert file.read_text().endswith("\n")


@pytest.mark.usefixtures("machine")
def test_samples_follow_each_other_at_the_interval_at_little_cost(file: Path) -> None:
    with record(file, interval_s=0.1) as recording:
        recorder = psutil.Process(recording.pid)
        before, begin = sum(recorder.cpu_times()[:2]), time.monotonic()
        time.sleep(2.0)
        used_s = sum(recorder.cpu_times()[:2]) - before
        share = used_s / (time.monotonic() - begin)
    times = [sample.time_s for sample in read_samples(file)]
    assert 5 <= len(times) <= 25  # 20 on a machine with nothing else to do
    assert times == sorted(times)
    assert share < 0.1  # of one core; about 0.01 on such a machine


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_recorder_stops_when_its_parent_dies(
    driver: dict[str, str], file: Path, number: signal.Signals
) -> None:
    script = f"""
        import sys, time
        from pathlib import Path
        from megatron_music.profiling.nvml.recording import record
        with record(Path({str(file)!r})) as recording:
            print(recording.pid, flush=True)
            time.sleep(60)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=os.environ | driver,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert not gone(pid)
    parent.send_signal(number)
    parent.wait(PATIENCE_S)
    parent.stdout.close()
    assert eventually(lambda: gone(pid))
    assert file.read_text().endswith("\n")


@pytest.mark.usefixtures("machine")
def test_a_terminated_recorder_is_not_a_problem_and_ignores_ctrl_c(file: Path) -> None:
    with record(file) as recording:
        os.kill(recording.pid, signal.SIGINT)
        time.sleep(0.3)
        assert not gone(recording.pid)
        os.kill(recording.pid, signal.SIGTERM)
        assert eventually(lambda: gone(recording.pid))
    assert recording.problem is None


@pytest.mark.usefixtures("machine")
def test_a_killed_recorder_is_reported(file: Path) -> None:
    with record(file) as recording:
        os.kill(recording.pid, signal.SIGKILL)
        assert eventually(lambda: gone(recording.pid))
    assert recording.problem is not None
    assert read_samples(file)


def test_a_gpu_that_is_lost_midway_is_recorded_as_lost(
    machine: pytest.MonkeyPatch, file: Path
) -> None:
    machine.setenv("STUB_LOST", "1")
    machine.setenv("STUB_LOST_AFTER", "2")
    with record(file, uuids=[SECOND], interval_s=0.02):
        assert eventually(lambda: len(read_samples(file)) > 4)
    samples = read_samples(file)
    assert {device.uuid for sample in samples for device in sample.devices} == {SECOND}
    lost = [sample.devices[0].lost for sample in samples]
    assert lost[0] is False
    assert lost[-1] is True
    assert lost == sorted(lost)


def test_without_a_driver_nothing_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: Path
) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_text("not a library")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    with pytest.raises(MissingError, match="no NVIDIA driver"), record(file):
        pass
    assert not file.exists()


@pytest.mark.usefixtures("machine")
def test_what_cannot_be_recorded_is_one_line(file: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(WriteError, match="cannot write"), record(tmp_path / "taken" / "x.jsonl"):
        pass
    with pytest.raises(InputError, match="NVML knows no GPU ff"), record(file, uuids=["GPU-ff"]):
        pass
    for interval_s in (0, -1, float("nan")):
        with pytest.raises(UsageError, match="above 0 s"), record(file, interval_s=interval_s):
            pass


def one_gpu(**columns: list[object]) -> list[Sample]:
    """One GPU, a sample a second; each column is a field's values."""
    rows = zip(*columns.values(), strict=True)
    return [
        Sample(float(second), (DeviceSample(0, "GPU-aa", **dict(zip(columns, row, strict=True))),))
        for second, row in enumerate(rows)
    ]


REASONS = [("power cap",), ("power cap", "thermal, hardware"), (), None]


@pytest.mark.parametrize(
    ("columns", "figures"),
    [
        ({"gpu_utilization": [0, 50, 100]}, {"mean_utilization": 50}),
        ({"gpu_utilization": [100, None, 50]}, {"mean_utilization": 75}),  # None is not zero
        ({"power_w": [100.0, 200.0, 330.0]}, {"mean_power_w": 210}),
        ({"sm_clock_mhz": [1000, 1200, 1400]}, {"mean_sm_clock_mhz": 1200}),
        ({"memory_used_bytes": [5, 9, 7]}, {"max_memory_bytes": 9}),
        ({"temperature_c": [50, 60, 55]}, {"max_temperature_c": 60}),
        # Energy is the counter's, not summed power; one that starts anew is followed.
        ({"energy_mj": [5_000_000, 5_400_000, 6_000_000], "power_w": [1] * 3}, {"energy_j": 1000}),
        ({"energy_mj": [9_000_000, 9_500_000, 200_000, 300_000]}, {"energy_j": 800}),
        ({"energy_mj": [1000, None, 3000]}, {"energy_j": 2}),
        ({"throttle_reasons": REASONS},
         {"throttled": {"power cap": 0.5, "thermal, hardware": 0.25}}),
        ({"temperature_c": [40, 41]}, dict.fromkeys(
            ("mean_utilization", "mean_power_w", "energy_j"))),
    ],
)  # fmt: skip
def test_figures_of_one_gpu(columns: dict[str, list[object]], figures: dict[str, object]) -> None:
    _, (device,) = summarize(one_gpu(**columns))
    assert {name: getattr(device, name) for name in figures} == figures


def two_gpus(*counters: tuple[int | None, int | None]) -> list[Sample]:
    return [
        Sample(
            float(second),
            (
                DeviceSample(0, "GPU-aa", energy_mj=one),
                DeviceSample(1, "GPU-bb", energy_mj=other),
            ),
        )
        for second, (one, other) in enumerate(counters)
    ]


def test_energy_is_of_all_gpus_together_and_not_guessed_where_one_does_not_count_it() -> None:
    assert total_energy_j(summarize(two_gpus((0, 0), (300_000, 700_000)))[1]) == 1000
    assert total_energy_j(summarize(two_gpus((0, None), (300_000, None)))[1]) is None


def test_a_window_leaves_out_the_warm_up() -> None:
    samples = one_gpu(gpu_utilization=[0, 0, 80, 90, 100, 0])
    duration_s, (gpu,) = summarize(samples, start_s=2, end_s=4)
    assert (duration_s, gpu.mean_utilization) == (2, 90)


def test_a_window_without_samples_is_refused() -> None:
    with pytest.raises(InputError, match="none of 2 samples"):
        summarize(one_gpu(gpu_utilization=[1, 2]), start_s=100)


def test_a_gpu_keeps_its_row_at_any_index() -> None:
    samples = two_gpus((0, 0), (1000, 5000))
    turned = [samples[0], Sample(1.0, samples[1].devices[::-1])]
    assert [device.energy_j for device in summarize(turned)[1]] == [1, 5]


LINES = [to_json(sample) for sample in one_gpu(temperature_c=[1, 2])]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (None, "No such file"),
        ([], "holds no sample"),
        ([LINES[0], "once upon a time", ""], r"gpus\.jsonl, line 2: 'once"),
        ([*LINES, LINES[0][:20]], None),  # a last line that was cut off is left out
    ],
)
def test_a_recording_is_read_or_refused(
    tmp_path: Path, lines: list[str] | None, told: str | None
) -> None:
    if lines is not None:
        (tmp_path / "gpus.jsonl").write_text("\n".join(lines))
    if told is None:
        assert len(read_samples(tmp_path / "gpus.jsonl")) == 2
        return
    with pytest.raises(InputError, match=told):
        read_samples(tmp_path / "gpus.jsonl")
