"""One JupyterLab for all tests that only look at it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launch.lab import Lab, free_port, started, wait_for
from tests.launch.scripts import ROOT
from tests.train.conftest import write_data


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab that launch/jupyter.sh started, in a home of its own."""
    pytest.importorskip("jupyterlab", reason="no JupyterLab: make test-all installs it")
    home = tmp_path_factory.mktemp("home")
    port, printed = free_port(), home / "printed.txt"
    command = [str(ROOT / "launch" / "jupyter.sh")]
    with started(command, printed, HOME=str(home), PORT=str(port)) as process:
        wait_for(port, process, printed)
        token_file = home / ".local" / "state" / "megatron_music" / f"jupyter-{port}.token"
        yield Lab(port, Path(token_file), process, printed)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a data set folder of scales."""
    return write_data(tmp_path_factory.mktemp("sets") / "scales", {"train": 300, "valid": 40})
