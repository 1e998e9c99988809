"""Run the real program, as a user does."""

import os
import subprocess
import sys
from pathlib import Path

from tests import warm


class Program:
    """`megatron-music` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one command and return what came of it."""
        command = [sys.executable, "-m", "megatron_music", *arguments]
        return warm.run(command, self.folder, os.environ | environment)

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one command that has to succeed."""
        done = self.run(*arguments, **environment)
        assert done.returncode == 0, done.stderr
        return done

    def fails(self, exit_code: int, *arguments: str, **environment: str) -> str:
        """Run one command that has to fail with one clear line; return that line."""
        done = self.run(*arguments, **environment)
        assert done.returncode == exit_code, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
        assert len(lines) == 1, done.stderr
        return lines[0]
