"""A program started by the server is a process like any other."""

import os
import signal
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import warm
from tests.train.conftest import launch

SAYS = "import os, sys; print(os.getcwd(), os.environ['WISH'], *sys.argv); sys.exit({})"


def test_what_is_loaded_is_there() -> None:
    """Else every program loads it again, and nobody notices."""
    pytest.importorskip("megatron.core", reason="the extra `train` is not installed")
    assert [name for name in warm.LOADED if find_spec(name) is None] == []


@pytest.mark.parametrize(("leaves", "code"), [("", 0), ("3", 3), ("'a word'", 1)])
def test_folder_environment_arguments_and_exit_code_are_its_own(
    tmp_path: Path, leaves: str, code: int
) -> None:
    command = [sys.executable, "-c", SAYS.format(leaves), "one"]
    done = warm.run(command, tmp_path, os.environ | {"WISH": "two"})
    assert (done.returncode, done.stdout) == (code, f"{tmp_path} two -c one\n")
    assert done.stderr == ("a word\n" if code == 1 else "")
    assert os.environ.get("WISH") is None


def test_a_fault_is_a_traceback_and_exit_code_1() -> None:
    done = warm.run([sys.executable, "-c", "1 / 0"])
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("ZeroDivisionError: division by zero")


def test_it_can_be_killed(tmp_path: Path) -> None:
    with tempfile.TemporaryFile() as said:
        words = ["-c", "import time; time.sleep(60)"]
        process = warm.start(words, tmp_path, os.environ, (said, said))
        assert process.poll() is None
        process.kill()
        assert process.wait(30) == -signal.SIGKILL


def test_torchruns_ranks_know_their_places(tmp_path: Path) -> None:
    script = tmp_path / "rank.py"
    script.write_text("import os; print(os.environ['RANK'], 'of', os.environ['WORLD_SIZE'])")
    command = launch(2, on_cpu=True)
    done = warm.run([*command[: command.index("-m", 2)], str(script)])
    assert sorted(done.stdout.splitlines()) == ["0 of 2", "1 of 2"]


def test_what_is_read_while_python_starts_needs_a_start_of_its_own() -> None:
    plain = dict(os.environ)
    assert warm.is_warm([sys.executable], plain)
    assert not warm.is_warm(["make"], plain)
    for name in ("LD_LIBRARY_PATH", "PYTHONHASHSEED", "NUMBA_DISABLE_JIT"):
        assert not warm.is_warm([sys.executable], plain | {name: "7"})
