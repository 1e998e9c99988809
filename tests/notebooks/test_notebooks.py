"""Every notebook runs from top to bottom, offline, and its executed copy is of its source."""

from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from tests.notebooks.execution import FOLDER, NAMES, execute, source

LARGEST_BYTES = 1_000_000


def copy_of(name: str) -> NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def cells(notebook: NotebookNode) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def outputs(notebook: NotebookNode) -> list[NotebookNode]:
    return [out for cell in notebook.cells for out in cell.get("outputs", [])]


def kinds(notebook: NotebookNode) -> set[str]:
    return {kind for out in outputs(notebook) for kind in out.get("data", {})}


def test_these_are_all_notebooks_and_none_can_be_imported() -> None:
    assert {path.name for path in FOLDER.glob("*.py")} == {f"{name}.pct.py" for name in NAMES}
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_executed_copy_is_in_step_with_its_source(name: str) -> None:
    assert cells(copy_of(name)) == cells(source(name)), "run: make notebooks"


@pytest.mark.parametrize("name", NAMES)
def test_the_executed_copy_is_small_whole_and_without_errors(name: str) -> None:
    copy = copy_of(name)
    assert (FOLDER / f"{name}.ipynb").stat().st_size < LARGEST_BYTES
    counts = [cell.execution_count for cell in copy.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert not [out for out in outputs(copy) if out.output_type == "error"]
    said = "".join(out.get("text", "") for out in outputs(copy))
    assert "Traceback" not in said
    assert "Warning" not in said
    assert "image/png" in kinds(copy)


@pytest.mark.parametrize("name", NAMES)
def test_every_notebook_begins_with_a_title_and_ends_with_a_next_step(name: str) -> None:
    first, *_, last = cells(source(name))
    assert first[0] == last[0] == "markdown"
    assert first[1].startswith("# ")
    assert last[1].startswith("## Next")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "profile"])
def test_music_is_heard_without_a_network(name: str) -> None:
    players = [
        out.data["text/html"]
        for out in outputs(copy_of(name))
        if "text/html" in out.get("data", {})
    ]
    assert any("data:audio/mpeg;base64," in player for player in players)
    assert not any("http" in player for player in players)


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_files(name: str) -> None:
    text = "".join(text for kind, text in cells(source(name)) if kind == "markdown")
    for target in [part.split(")")[0] for part in text.split("](")[1:]]:
        assert (FOLDER / target).exists(), target


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_all_notebooks_run_offline_in_the_order_they_build_on_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTEBOOKS_QUICK", str(tmp_path))
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    before = {path: path.stat().st_mtime_ns for path in FOLDER.rglob("*")}
    for name in NAMES:
        executed = execute(name, FOLDER)
        assert "image/png" in kinds(executed)
    assert {path: path.stat().st_mtime_ns for path in FOLDER.rglob("*")} == before
