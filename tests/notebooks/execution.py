"""Run notebooks from their sources: `python -m tests.notebooks.execution [NAME ...]`.

Writes the executed copies beside the sources, as `make notebooks` does.
"""

import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = ("mine", "tokens", "dataset", "pretrain", "compose", "sung", "profile")
"""In the order in which they build on each other."""

CELL_TIMEOUT_S = 900


def source(name: str) -> NotebookNode:
    """Read a notebook's source.

    It is not called `profile.py`: cProfile, and torch with it, would import that.
    """
    return jupytext.read(FOLDER / f"{name}.pct.py")


def execute(name: str, folder: Path = FOLDER) -> NotebookNode:
    """Run a notebook in `folder`; raises nbclient's CellExecutionError where a cell fails."""
    notebook = source(name)
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
    )
    client.execute()
    return notebook


def save(name: str, notebook: NotebookNode) -> Path:
    """Write an executed copy; cells are numbered, so that the same run gives the same bytes."""
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
    path = FOLDER / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return path


def main() -> None:
    """Run the notebooks named, or all, and write their executed copies."""
    unknown = set(sys.argv[1:]) - set(NAMES)
    if unknown:
        sys.exit(f"error: no notebook {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    for name in sys.argv[1:] or NAMES:
        path = save(name, execute(name))
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
