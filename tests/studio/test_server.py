"""The program `megatron-music studio`: it starts, refuses what cannot be, and ends at Ctrl-C."""

import json
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from megatron_music.errors import CheckpointError, UsageError, WriteError
from megatron_music.studio.server import find_models, serve

DOCS = Path(__file__).parents[2] / "docs" / "studio.md"


@pytest.mark.slow
def test_the_program_serves_composes_by_the_documented_commands_and_ends_at_ctrl_c(
    model: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "megatron_music", "studio", str(model), "--port", "18012"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        assert server.stderr is not None
        told = next(line for line in server.stderr if "http://" in line)
        address = re.findall(r"http://[0-9.:]+", told)[0]
        song = urllib.request.urlopen(f"{address}/api/v1/songs/31/midi").read()  # noqa: S310
        (tmp_path / "song.mid").write_bytes(song)
        for line in documented_commands():
            asked = line.replace("http://127.0.0.1:8000", address)
            done = subprocess.run(
                ["/bin/bash", "-c", asked], capture_output=True, text=True, cwd=tmp_path, check=True
            )
        assert json.loads(done.stdout)["state"] in ("waiting", "running", "done")
        with pytest.raises(UsageError, match="another studio"):
            serve([model], tmp_path / "studio", "127.0.0.1", 18014, None, print)
        with pytest.raises(WriteError, match="port"):
            serve([model], tmp_path / "other", "127.0.0.1", 18012, None, print)
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=60) == 130
    log = (tmp_path / "studio" / "studio.log").read_text()
    assert "token" not in log
    lines = [json.loads(line) for line in log.splitlines()]
    assert "/api/v1/songs/{number}/{kind}" in [line.get("route") for line in lines]


def documented_commands() -> list[str]:
    """Return the commands of docs/studio.md that ask a studio, each on one line."""
    blocks = re.findall(r"```\n(curl.*?)```", DOCS.read_text(), flags=re.DOTALL)
    text = "".join(blocks).replace("\\\n", " ")
    commands = [line for line in text.splitlines() if line.startswith("curl")]
    assert len(commands) == 2
    assert all(shlex.split(one) for one in commands)
    return commands


def test_models_of_one_name_are_told_apart(model: Path) -> None:
    assert [one.name for one in find_models([model, model])] == [model.name, f"{model.name}-2"]


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        find_models([tmp_path])
