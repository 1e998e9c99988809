"""A run survives whatever stops it, bit by bit, and says how it stands."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatron_music.train.run_dir import RunDir, read_meta
from tests import warm
from tests.train.conftest import SMALL, execute, launch, losses, need_devices, read

SCRIPT = Path(__file__).parents[2] / "launch" / "pretrain.sh"
SAVED_EVERY = 5
DROPOUT = ["model.hidden_dropout=0.1", "model.attention_dropout=0.1"]
ITERATIONS = 40
SHORT = [
    f"train.train_iters={ITERATIONS}",
    f"log.save_interval={SAVED_EVERY}",
    "log.eval_interval=9",
    *DROPOUT,
]
ENDLESS = ["train.train_iters=100000", "log.save_interval=0", "log.eval_interval=0"]
FILE_LIMIT_BYTES = 300_000
TIMINGS = ("step_time_s", "tokens_per_s", "tflops_per_gpu", "memory_bytes")

pytestmark = pytest.mark.slow
Train = Callable[..., Any]


def start(data: Path, run: Path, *overrides: str, processes: int = 1) -> subprocess.Popen[str]:
    """Start training in a session of its own, as a user does."""
    need_devices(processes)
    arguments = ["tiny", "--data", str(data), "--run-dir", str(run), *SMALL, *overrides]
    settings = {"MUSIC_PYTHON": sys.executable, "NPROC": str(processes), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [SCRIPT, *arguments],
        env=os.environ | settings,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def start_quickly(data: Path, run: Path, *overrides: str) -> warm.Process:
    """Start training in a session of its own, with torch loaded already."""
    arguments = ["train", "tiny", "--data", str(data), "--run-dir", str(run)]
    words = launch(1, *arguments, *SMALL, *overrides)[1:]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with (run.parent / "said").open("ab") as said:
        return warm.start(words, run.parent, environment, (said, said))


def wait_for_iteration(run: Path, iteration: int, timeout_s: float = 240) -> None:
    """Return when the log has reached an iteration."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        log = run / "log.jsonl"
        if log.exists() and f'"iteration": {iteration},' in log.read_text():
            return
        time.sleep(0.02)
    pytest.fail(f"iteration {iteration} was not reached")


KILLS = 2
"""Bounded, for the time it takes; by a seed, the second while a checkpoint is written."""


def test_a_run_killed_again_and_again_ends_bit_identical(
    data: Path, train: Train, tmp_path: Path
) -> None:
    whole, run, random = tmp_path / "whole", tmp_path / "killed", np.random.default_rng(0)
    train(whole, *SHORT)
    for kill in range(KILLS):
        saved = iteration_of(run)
        if saved == ITERATIONS:  # the run ended before the signal came
            break
        process = start_quickly(data, run, *SHORT)
        if kill % 2:
            wait_for_a_save(run, saved)
        else:
            wait_for_iteration(run, min(ITERATIONS - 1, saved + int(random.integers(1, 5))))
        time.sleep(random.random() * 0.05)
        with suppress(ProcessLookupError):  # it was quicker
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reached = max(losses(run), default=0)
        assert iteration_of(run) >= saved, "a checkpoint was lost"
        assert reached - iteration_of(run) <= SAVED_EVERY, "more than since the last save was lost"
    train(run, *SHORT)
    assert figures(run) == figures(whole)


def iteration_of(run: Path) -> int:
    """Return the iteration that a run would go on from; its checkpoint has to be whole."""
    latest = RunDir(run).latest()
    return 0 if latest is None else read_meta(latest).iteration


def wait_for_a_save(run: Path, saved: int, timeout_s: float = 240) -> None:
    """Return while a newer checkpoint is being written, or just after."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if list((run / "checkpoints").glob(".*partial")) or iteration_of(run) > saved:
            return
        time.sleep(0.002)
    pytest.fail("nothing was saved")


def figures(run: Path) -> list[dict[str, Any]]:
    """Return the log without what depends on the clock and on the process."""
    return [{k: v for k, v in line.items() if k not in TIMINGS} for line in read(run)]


@pytest.mark.parametrize(
    ("processes", "number", "code"), [(1, signal.SIGINT, 130), (2, signal.SIGTERM, 143)]
)
def test_a_signal_saves_first_and_names_the_command_once(
    data: Path, tmp_path: Path, processes: int, number: signal.Signals, code: int
) -> None:
    run = tmp_path / "run"
    process = start(data, run, *ENDLESS, processes=processes)
    wait_for_iteration(run, 3)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    last = max(losses(run))
    assert process.returncode == code
    assert "Traceback" not in told
    assert told.count("error: ") == 1
    assert f"error: stopped by {number.name} after iteration {last}, all saved" in told
    assert (run / "checkpoints" / "latest").resolve().name == f"step_{last}"


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(
    data: Path, tmp_path: Path
) -> None:
    arguments = ["train", "tiny", "--data", str(data), "--run-dir", str(tmp_path / "run")]
    arguments += [*SMALL, "train.train_iters=1", "log.eval_interval=0"]
    limited = (
        "import resource, runpy, sys\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({FILE_LIMIT_BYTES}, {FILE_LIMIT_BYTES}))\n"
        f"sys.argv = ['megatron-music', *{arguments!r}]\n"
        "runpy.run_module('megatron_music', run_name='__main__')"
    )
    done = execute(sys.executable, "-c", limited)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: cannot write")
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


@pytest.mark.parametrize(
    ("end", "told", "is_full"),
    [
        ("os.kill(os.getpid(), 9)", "killed by SIGKILL", False),
        ("raise RuntimeError('no') from OSError(28, 'no space')", ": no space; make room", True),
    ],
    ids=["killed", "full disk"],
)
def test_the_disk_is_blamed_where_the_system_says_so(
    data: Path, tmp_path: Path, end: str, told: str, is_full: bool
) -> None:
    arguments = ["train", "tiny", "--data", str(data), "--run-dir", str(tmp_path / "run")]
    arguments += [*SMALL, "train.train_iters=1", "log.eval_interval=0"]
    rank = tmp_path / "rank.py"
    rank.write_text(
        "import os, runpy, sys\n"
        "from torch.distributed.checkpoint.filesystem import FileSystemWriter as Writer\n"
        "def write(*_):\n"
        f"    {end}\n"
        "if os.environ['RANK'] == '1':\n"
        "    Writer.write_data = write\n"
        f"sys.argv = ['megatron-music', *{arguments!r}]\n"
        "runpy.run_module('megatron_music', run_name='__main__')\n"
    )
    launcher = [sys.executable, "-m", "megatron_music.train.torchrun", "--standalone"]
    done = subprocess.run(
        [*launcher, "--nproc-per-node", "2", str(rank)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told in done.stderr.splitlines()[-1]
    assert ("make room" in done.stderr) == is_full
