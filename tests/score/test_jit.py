"""Machine code that is kept is thrown away when what it was made from changes; making is told."""

import ast
import re
from pathlib import Path

import pytest

import megatron_music
from megatron_music.score.jit import COMPILING, MADE_FROM
from tests.code import run_code

PACKAGE = Path(megatron_music.__file__).parent
WITHOUT_NUMBERS = {"megatron_music.errors"}


def kernels() -> set[Path]:
    made = re.compile(r"^@(kernel|borrowing_kernel|inlined)$", re.MULTILINE)
    return {path for path in PACKAGE.rglob("*.py") if made.search(path.read_text())}


def imported(path: Path) -> set[str]:
    """Return the modules of ours that a file imports, or imports from, when it is loaded."""
    modules = set()
    for node in ast.parse(path.read_text()).body:
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("megatron_"):
            continue
        folder = PACKAGE.parent / (node.module or "").replace(".", "/")
        names = [f"{node.module}.{one.name}" for one in node.names] if folder.is_dir() else []
        modules |= {*names} or {node.module or ""}
    return modules


def test_every_kernel_and_all_it_takes_numbers_from_is_watched() -> None:
    watched = {path for name in MADE_FROM for path in PACKAGE.glob(name)}
    assert kernels() <= watched
    for path in kernels():
        needed = {
            PACKAGE.parent / (name.replace(".", "/") + ".py")
            for name in imported(path) - WITHOUT_NUMBERS
        }
        assert needed <= watched, path


@pytest.mark.slow
def test_long_compiling_is_reported_once(tmp_path: Path) -> None:
    code = (
        "from megatron_music.score import jit; jit.wide(7); jit.LONG_S = 0; "
        "jit.lowest_bit(8); jit.wide(7.0)"
    )
    told = [run_code(code, NUMBA_CACHE_DIR=str(tmp_path)).stderr for _ in range(2)]
    assert told == [f"{COMPILING.format('lowest_bit')}\n", ""]


@pytest.mark.slow
def test_machine_code_of_an_older_version_is_made_anew_where_its_records_are_gone(
    tmp_path: Path,
) -> None:
    code = """
import pickle
from pathlib import Path
import numba
from megatron_music.score import jit
index = Path(jit.wide._cache._cache_file._index_path)
index.parent.mkdir(parents=True, exist_ok=True)
index.write_bytes(pickle.dumps(numba.__version__, -1) + b"cmegatron_music.errors\\nGone\\n.")
print(jit.wide(7))
"""
    assert run_code(code, NUMBA_CACHE_DIR=str(tmp_path)).stdout == "7\n"
