"""`--run` reaches our program through torchrun, and nothing else is touched."""

import subprocess
import sys
from pathlib import Path

import pytest

from megatron_music.train.torchrun import is_torchrun, last_word, separated


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["python", "-m", "torch.distributed.run", "-m", "megatron_music"], True),
        (["/usr/bin/python3", "/venv/bin/torchrun", "-m", "megatron_music"], True),
        (["python", "-m", "megatron_music", "train"], False),
        (["python", "train.py", "a", "torchrun"], False),
    ],
)
def test_only_torchrun_is_torchrun(command: list[str], expected: bool) -> None:
    assert is_torchrun(command) is expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            "--standalone -m megatron_music train --run a",
            "--standalone -m -- megatron_music train --run a",
        ),
        ("launch/huggingface.py --run a", "-- launch/huggingface.py --run a"),
        ("-m -- megatron_music train", "-m -- megatron_music train"),
        ("-m other megatron_music", "-m other megatron_music"),
        ("train.py --run a", "train.py --run a"),
    ],
)
def test_only_this_program_is_set_apart(arguments: str, expected: str) -> None:
    assert separated(arguments.split()) == expected.split()


@pytest.mark.slow
def test_torchrun_hands_over_the_run_folder(tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "-m"]
    command = ["megatron_music", "train", "tiny", "--data", "none", "--run", str(tmp_path / "run")]
    done = subprocess.run([*launcher, *command], capture_output=True, text=True, check=False)
    assert "no data set in none" in done.stderr
    assert "ambiguous option" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: no data set in none")
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


def test_only_a_rank_that_was_killed_is_spoken_for() -> None:
    assert last_word(2) == ""
    assert "killed by SIGKILL (exitcode: -9); was there too little memory?" in last_word(-9)
    assert "killed by SIGSEGV (exitcode: -11)" in last_word(-11)
