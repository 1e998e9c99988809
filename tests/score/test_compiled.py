"""Machine code that is kept is thrown away when what it was made from changes."""

import ast
from pathlib import Path

import megatron_music
from megatron_music.score.compiled import _MADE_FROM

PACKAGE = Path(megatron_music.__file__).parent
WITHOUT_NUMBERS = {"megatron_music.errors"}


def kernels() -> set[Path]:
    return {path for path in PACKAGE.rglob("*.py") if "\n@kernel\n" in path.read_text()}


def imported(path: Path) -> set[str]:
    """Return the modules that a file imports from when it is loaded."""
    tree = ast.parse(path.read_text())
    return {node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)}


def test_every_kernel_and_all_it_takes_numbers_from_is_watched() -> None:
    watched = {path for name in _MADE_FROM for path in PACKAGE.glob(name)}
    assert kernels() <= watched
    for path in kernels():
        ours = {name for name in imported(path) if name.startswith("megatron_music.")}
        needed = {
            PACKAGE.parent / (name.replace(".", "/") + ".py") for name in ours - WITHOUT_NUMBERS
        }
        assert needed <= watched, path
