"""The recorder: a process of its own, ten samples a second, gone when it is not needed."""

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
from megatron_music.profiling.nvml.recording import read_samples, record

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
