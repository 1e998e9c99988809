"""A run survives whatever stops it, bit by bit, and says how it stands."""

import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.train.conftest import SMALL, launch, losses, read

DROPOUT = ["model.hidden_dropout=0.1", "model.attention_dropout=0.1"]
SHORT = ["train.train_iters=20", "log.save_interval=5", "log.eval_interval=9", *DROPOUT]
ENDLESS = ["train.train_iters=100000", "log.save_interval=0", "log.eval_interval=0"]
FILE_LIMIT_BYTES = 300_000

pytestmark = pytest.mark.slow
Train = Callable[..., Any]


def start(data: Path, run: Path, *overrides: str, processes: int = 1) -> subprocess.Popen[str]:
    """Start training in a session of its own."""
    arguments = ["train", "tiny", "--data", str(data), "--run", str(run)]
    return subprocess.Popen(
        launch(processes, *arguments, *SMALL, *overrides),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_iteration(run: Path, iteration: int, timeout_s: float = 90) -> None:
    """Return when the log has reached an iteration."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        log = run / "log.jsonl"
        if log.exists() and f'"iteration": {iteration},' in log.read_text():
            return
        time.sleep(0.02)
    pytest.fail(f"iteration {iteration} was not reached")


def test_a_run_killed_again_and_again_ends_bit_identical(
    data: Path, train: Train, tmp_path: Path
) -> None:
    train(tmp_path / "whole", *SHORT)
    for iteration in (2, 10):  # 10 is being saved about then
        process = start(data, tmp_path / "killed", *SHORT)
        wait_for_iteration(tmp_path / "killed", iteration)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    train(tmp_path / "killed", *SHORT)
    timings = ("step_time_s", "tokens_per_s", "tflops_per_gpu", "memory_bytes")
    whole, killed = (
        [{k: v for k, v in line.items() if k not in timings} for line in read(tmp_path / name)]
        for name in ("whole", "killed")
    )
    assert killed == whole


@pytest.mark.parametrize("processes", [1, 2])
def test_a_signal_saves_first_and_tells_once_how_to_go_on(
    data: Path, tmp_path: Path, processes: int
) -> None:
    run = tmp_path / "run"
    process = start(data, run, *ENDLESS, processes=processes)
    wait_for_iteration(run, 3)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    last = max(losses(run))
    assert process.returncode != 0
    assert told.count("error: ") == 1
    assert f"error: stopped by SIGTERM after iteration {last}, all saved" in told
    assert (run / "checkpoints" / "latest").resolve().name == f"step_{last}"


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(
    data: Path, tmp_path: Path
) -> None:
    arguments = ["train", "tiny", "--data", str(data), "--run", str(tmp_path / "run")]
    limits = (FILE_LIMIT_BYTES, FILE_LIMIT_BYTES)
    done = subprocess.run(
        launch(1, *arguments, *SMALL, "train.train_iters=1", "log.eval_interval=0"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: cannot write")
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []
