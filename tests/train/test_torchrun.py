"""The run folder's option comes through torchrun, and a rank's error is its last word."""

import os
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from megatron_music.train.torchrun import exit_message
from tests.code import run_code

PLAIN = ("torch.distributed.run", "--standalone", "-m")
OURS = ("megatron_music.train.torchrun", "--standalone", "-m", "--")


def train_on_nothing(*launcher: str, option: str, run: Path) -> subprocess.CompletedProcess[str]:
    words = ["megatron_music", "train", "tiny", "--data", "none", option, str(run)]
    return subprocess.run(
        [sys.executable, "-m", *launcher, *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_plain_torchrun_hands_over_the_run_folder(tmp_path: Path) -> None:
    done = train_on_nothing(*PLAIN, option="--run-dir", run=tmp_path / "run")
    assert "error: no data set in none" in done.stderr
    assert done.returncode == 1


@pytest.mark.slow
def test_as_the_launch_script_starts_it_the_last_word_is_the_ranks_own(tmp_path: Path) -> None:
    done = train_on_nothing(*OURS, option="--run", run=tmp_path / "run")
    assert done.stderr.strip().splitlines()[-1].startswith("error: no data set in none")
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


CTRL_C_IS_LOST_IN_A_DESTRUCTOR = """
import os, signal
from megatron_music.cli import show
from megatron_music.cli.main import run
class Group:
    def __del__(self): os.kill(os.getpid(), signal.SIGINT)
def wait_for(*_):
    group = Group()
    del group
show.wait_for = wait_for
run()
"""


@pytest.mark.slow
def test_ctrl_c_that_was_lost_while_torch_was_loaded_ends_the_training(
    data: Path, tmp_path: Path
) -> None:
    words = ["train", "tiny", "--data", str(data), "--run-dir", str(tmp_path)]
    done = run_code(CTRL_C_IS_LOST_IN_A_DESTRUCTOR, *words, "train.train_iters=2")
    assert (done.returncode, "iteration" in done.stderr) == (130, False)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [0, 2], ids=["before the ranks", "while both load torch"])
def test_ctrl_c_before_the_training_is_one_line(data: Path, tmp_path: Path, ranks: int) -> None:
    words = [*OURS[:2], "--nproc-per-node", "2", *OURS[2:], "megatron_music", "train", "tiny"]
    process = subprocess.Popen(
        [sys.executable, "-m", *words, "--data", str(data), "--run-dir", str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    launcher = psutil.Process(process.pid)
    end_s = time.monotonic() + 120
    while not loads_torch(launcher) or len(list(filter(loads_torch, launcher.children()))) < ranks:
        assert time.monotonic() < end_s
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    lines = [line.partition(";")[0] for line in told.splitlines()]
    assert [line for line in lines if not line.startswith("loading")] == ["interrupted"]


def loads_torch(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return any("libtorch" in each.path for each in process.memory_maps())
    return False


def test_only_a_rank_that_was_killed_is_spoken_for() -> None:
    assert exit_message(2) == ""
    assert "killed by SIGKILL (exitcode: -9); was there too little memory?" in exit_message(-9)
    assert "killed by SIGSEGV (exitcode: -11)" in exit_message(-11)


def test_installing_runs_nothing_at_the_imports_of_other_programs() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert "entry-points" not in project  # as of torch.backends, which torch runs when imported
