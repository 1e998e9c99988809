"""Every shell script: checked by shellcheck, strict, executable, its variables explained."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launch.scripts import ROOT

SCRIPTS = sorted(
    path
    for folder in ("launch", "docker", "profiling", "tests", ".ci")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and path.read_bytes()[:15] == b"#!/usr/bin/env "
)
SHELL = [path for path in SCRIPTS if b"bash" in path.read_bytes()[:20]]
LAUNCHERS = [path for path in SHELL if path.parent.name in ("launch", "docker", "gpu_day")]
names = pytest.mark.parametrize("script", SHELL, ids=lambda path: str(path.relative_to(ROOT)))


def test_shellcheck_finds_nothing() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    command = [shellcheck, "--external-sources", "--source-path=SCRIPTDIR", *SHELL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@names
def test_a_script_stops_at_the_first_failure_and_can_be_started(script: Path) -> None:
    text = script.read_text()
    if "/head.sh" in text:  # strict mode is in what it sources
        text = script.with_name("head.sh").read_text()
    assert "\nset -euo pipefail\n" in text
    assert os.access(script, os.X_OK) or script.suffix == ".sbatch"


@pytest.mark.parametrize("script", LAUNCHERS, ids=lambda path: path.name)
def test_a_script_tells_what_it_takes_and_does_nothing(script: Path) -> None:
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=False)
    first = script.read_text().splitlines()[1].removeprefix("# ")
    assert done.returncode == 0
    assert done.stdout.startswith(first)
    assert not re.search("SBATCH --|shellcheck|set -euo", done.stdout)
