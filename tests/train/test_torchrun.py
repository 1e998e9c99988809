"""The run folder's option comes through torchrun, and a rank's error is its last word."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from megatron_music.train.torchrun import exit_message

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


def test_only_a_rank_that_was_killed_is_spoken_for() -> None:
    assert exit_message(2) == ""
    assert "killed by SIGKILL (exitcode: -9); was there too little memory?" in exit_message(-9)
    assert "killed by SIGSEGV (exitcode: -11)" in exit_message(-11)


def test_installing_runs_nothing_at_the_imports_of_other_programs() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert "entry-points" not in project  # as of torch.backends, which torch runs when imported
