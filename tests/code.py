"""Run Python code in an interpreter of its own."""

import os
import subprocess
import sys


def run_code(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code to its end, with more environment variables; return what came of it."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
