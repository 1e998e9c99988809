"""docker/base.py: what pip is held to while the image is built, and what is proved after it."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.launch.scripts import ROOT

NVIDIA = {"torch": "2.6.0a0+df5bbc09d1.nv24.12", "numpy": "1.26.4", "nvidia-nccl": "2.23.4"}


@pytest.fixture(scope="module")
def base() -> ModuleType:
    spec = importlib.util.spec_from_file_location("base", ROOT / "docker" / "base.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write our pins for this Python, and a constraint file of the image's."""

    def write(theirs: str = "") -> Path:
        (tmp_path / "theirs.txt").write_text(theirs)
        monkeypatch.setenv("PIP_CONSTRAINT", str(tmp_path / "theirs.txt"))
        version = "py{}{}.txt".format(*sys.version_info[:2])
        lines = "numpy==2.4.6\nrich==15.0.0\nmegatron-core==0.16.1\ntyper==0.29.2\ntorch==2.13.0\n"
        (tmp_path / version).write_text(lines)
        return tmp_path

    return write


def test_builds_of_the_base_are_kept_and_missing_packages_installed(
    base: ModuleType, pins: Callable[[str], Path]
) -> None:
    held = base.held(NVIDIA | {"rich": "13.9.4"}, pins(""))
    kept = ["numpy==1.26.4", "nvidia-nccl==2.23.4", "torch==2.6.0a0+df5bbc09d1.nv24.12"]
    assert held == [*kept, "typer==0.29.2"]


def test_what_the_images_own_constraints_name_is_left_to_them(
    base: ModuleType, pins: Callable[[str], Path]
) -> None:
    assert "typer==0.29.2" not in base.held(NVIDIA, pins("typer<0.20\n"))


def test_a_base_can_ask_for_other_transformers(
    base: ModuleType, pins: Callable[[str], Path]
) -> None:
    folder = pins("")
    with next(folder.glob("py*.txt")).open("a") as file:
        file.write("transformers==5.23.0\ntokenizers==0.23.3\n")
    assert {"transformers==5.23.0", "tokenizers==0.23.3"} <= set(base.held(NVIDIA, folder))
    held = base.held(NVIDIA, folder, transformers="5.14.0")
    assert "transformers==5.14.0" in held
    assert not any(line.startswith("tokenizers") for line in held)


def test_another_python_takes_the_nearest_pins(
    base: ModuleType, pins: Callable[[str], Path]
) -> None:
    folder = pins("")
    next(folder.glob("py*.txt")).rename(folder / "py39.txt")
    assert "typer==0.29.2" in base.held(NVIDIA, folder)


@pytest.mark.parametrize("name", ["torch", "transformer-engine-torch", "nvidia-cublas", "apex"])
def test_nvidias_builds_are_kept(base: ModuleType, name: str) -> None:
    assert base.is_kept(name)


@pytest.mark.parametrize("name", ["nvidia-ml-py", "rich", "torchmetrics"])
def test_other_packages_may_move(base: ModuleType, name: str) -> None:
    assert not base.is_kept(name)


def test_what_the_base_brings_is_not_asked_of_pip(base: ModuleType) -> None:
    wanted = [line.split(">")[0] for line in base.requirements(ROOT / "pyproject.toml")]
    assert {"torch", "megatron-core"}.isdisjoint(wanted)
    assert {"numba", "transformers", "jupyterlab", "fastapi", "uvicorn"} <= set(wanted)


def test_a_replaced_torch_is_an_error_and_an_updated_helper_a_remark(
    base: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = NVIDIA | {"rich": "13.9.4"}
    after = NVIDIA | {"rich": "15.0.0", "torch": "2.13.0"}
    monkeypatch.setattr(base, "installed", lambda: after)
    monkeypatch.setattr(base, "SMOKE", ("json",))
    monkeypatch.setattr(base, "make_model", lambda: None)
    assert base.prove(before) == ["torch 2.6.0a0+df5bbc09d1.nv24.12 -> 2.13.0"]
    assert "updated: rich 13.9.4 -> 15.0.0" in capsys.readouterr().out


def test_the_build_fails_where_the_bases_builds_were_replaced(
    base: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base.json").write_text(json.dumps({"torch": "2.6.0a0+nv"}))
    monkeypatch.setattr(base, "installed", dict)
    monkeypatch.setattr(base, "SMOKE", ())
    monkeypatch.setattr(base, "make_model", lambda: None)
    with pytest.raises(SystemExit, match=r"replaced: torch 2\.6\.0a0\+nv -> gone"):
        base.main("prove", str(tmp_path / "base.json"))
