"""A machine without a network runs the day from what was carried there."""

import subprocess
from pathlib import Path

import pytest

from tests.launch.scripts import ROOT

SCRIPTS = ROOT / "profiling" / "gpu_day"
STAND_IN = """#!/usr/bin/env bash
printf '%s|' "$@" >> "$ASKED"
echo "$PYTHONPATH" >> "$ASKED"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Copy what carrying needs of a checkout, with a stand-in for Python."""
    folder = tmp_path / "profiling" / "gpu_day"
    folder.mkdir(parents=True)
    for name in ("head.sh", "carry.sh", "carried.sh"):
        (folder / name).write_bytes((SCRIPTS / name).read_bytes())
        (folder / name).chmod(0o755)
    (tmp_path / "constraints").mkdir()
    (tmp_path / "constraints" / "py312.txt").write_text("megatron-core==0.16.1\nsymusic==0.6.0\n")
    (tmp_path / "python").write_text(STAND_IN)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def start(
    checkout: Path, script: str, *words: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "profiling" / "gpu_day" / script, *words],
        env={
            "PATH": "/usr/bin:/bin",
            "MUSIC_PYTHON": str(checkout / "python"),
            "ASKED": str(checkout / "asked.txt"),
            "PYTHONPATH": "",
            **settings,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_was_carried_is_put_first_on_the_path_and_the_day_begins(checkout: Path) -> None:
    for name in ("wheels/one.whl", "data/manifest.json", "model/config.json"):
        (checkout / "build" / "carry" / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / "build" / "carry" / name).touch()
    done = start(checkout, "carried.sh", "--only", "train", OUT="there")
    assert done.returncode == 0, done.stderr
    _, install, day = (checkout / "asked.txt").read_text().splitlines()
    words, path = day.rsplit("|", 1)
    assert f"--target|{path}|build/carry/wheels/one.whl|" in install
    assert "--no-index|" in install
    assert words == (
        "-m|profiling.gpu_day|--data|build/carry/data|-o|there|--results|there|"
        "--model|build/carry/model|--only|train"
    )
    assert not Path(path).exists()


@pytest.mark.parametrize(
    ("script", "settings", "reason"),
    [
        ("carried.sh", {}, "no build/carry"),
        ("carry.sh", {"PY": "3.9"}, "no constraints/py39.txt"),
        ("carry.sh", {}, "no data set in data/bach"),
        ("carry.sh", {"DATA": "set", "LACKS": "symusic nothing"}, "nothing is not in constraints"),
    ],
)
def test_what_cannot_be_carried_is_one_line(
    checkout: Path, script: str, settings: dict[str, str], reason: str
) -> None:
    (checkout / "set").mkdir()
    (checkout / "set" / "manifest.json").touch()
    done = start(checkout, script, **settings)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {reason}")
    assert len(done.stderr.splitlines()) == 1
    assert not (checkout / "build" / "carry").exists()
