"""Processes that work: forked from one that loads while something else is done."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from megatron_music.data.workers import local
from megatron_music.data.workers.local import LocalWorkers, start_workers


def process(_: int) -> tuple[int, int]:
    return os.getpid(), os.getppid()


def interrupts_meet(_: int) -> bool:
    """Tell whether Ctrl-C would reach this process."""
    held_back = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return not held_back and signal.getsignal(signal.SIGINT) != signal.SIG_IGN


def loaded(_: int) -> bool:
    return "megatron_music.data.shards.preload" in sys.modules


@pytest.mark.slow
def test_what_was_started_early_has_loaded_what_the_workers_need() -> None:
    start_workers("local", 2)
    early = {child.pid for child in psutil.Process().children()}
    found = set(LocalWorkers(2).run(process, range(4)))
    assert {parent for _, parent in found} <= early
    assert all(LocalWorkers(2).run(loaded, range(4)))
    assert not any(LocalWorkers(2).run(interrupts_meet, range(4)))
    assert interrupts_meet(0)


def test_one_worker_is_this_process() -> None:
    before = psutil.Process().children()
    start_workers("local", 1)
    assert psutil.Process().children() == before
    assert list(LocalWorkers(1).run(process, range(2))) == [process(0)] * 2


def wait(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@pytest.mark.slow
def test_calls_without_a_caller_end_with_their_processes() -> None:
    made = LocalWorkers(2).run(wait, [0.0, 600.0])
    assert next(made) == 0.0
    made.close()  # type: ignore[attr-defined]
    assert list(LocalWorkers(2).run(abs, [-1, -2])) in ([1, 2], [2, 1])


def where(_: int) -> str:
    return local.__file__


@pytest.mark.slow
def test_workers_do_not_import_from_the_current_folder(tmp_path: Path) -> None:
    for name in ("megatron_music/data/shards/preload.py", "random.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("raise RuntimeError")
    code = "from tests.data.workers.test_local import *; print(*LocalWorkers(2).run(where, [0]))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == (local.__file__, "")


@pytest.mark.slow
def test_what_one_thread_drops_leaves_the_work_of_another_alone() -> None:
    dropped, other = (
        LocalWorkers(2).run(wait, [0.0, 600.0]),
        LocalWorkers(2).run(wait, [0.0, 0.5]),
    )
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(next, other).result() == 0.0
        assert next(dropped) == 0.0
        dropped.close()  # type: ignore[attr-defined]
        assert thread.submit(next, other).result() == 0.5


SCRIPT = """
from megatron_music.data.workers.local import LocalWorkers
print(sorted(LocalWorkers(2).run(abs, [-1, -2])))
"""


@pytest.mark.slow
def test_a_script_without_a_guard_runs_once(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[1, 2]\n", "")
