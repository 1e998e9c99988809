"""The program, run in an empty folder."""

from pathlib import Path

import pytest

from tests.cli.program import Program


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The program with `tmp_path` as its working folder."""
    return Program(tmp_path)
