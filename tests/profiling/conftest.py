"""The program, and a stand-in for the NVIDIA driver's library, compiled where the tests run."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.program import Program

STUB = Path(__file__).with_name("nvml_stub.c")


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The program with `tmp_path` as its working folder."""
    return Program(tmp_path)


def compiled(folder: Path, *flags: str) -> dict[str, str]:
    """Compile the stub into a folder; return the environment that puts it first."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("the NVML tests compile a stub of libnvidia-ml.so.1 and there is no gcc here")
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-Wall", "-Wextra", *flags, "-o", library, STUB], check=True
    )
    return {"LD_LIBRARY_PATH": str(folder)}


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a machine with two GPUs and a driver of today."""
    return compiled(tmp_path_factory.mktemp("driver"))


@pytest.fixture(scope="session")
def old_driver(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a machine whose driver lacks what came later: energy, counters."""
    return compiled(tmp_path_factory.mktemp("old"), "-DOLD_DRIVER")
