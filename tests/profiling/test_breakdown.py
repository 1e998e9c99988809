"""Where the time goes: shares worked by hand, and a capture that agrees with its run's log."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from megatron_music.profiling.report.times import EXPOSED, IDLE, TimeBreakdown, time_breakdown
from megatron_music.profiling.sweep.capture import capture_file, capture_log
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
