"""The pages for each kind of machine: every command on them is one that exists."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from megatron_music.config import Recipe, load_recipe
from megatron_music.costs.layout import check_layout
from tests.launch.scripts import ROOT, make, run

PAGES = [ROOT / "docs" / f"{name}.md" for name in ("laptop", "workstation", "dgx", "slurm")]
PAGES.append(ROOT / "docker" / "README.md")
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)

ELSEWHERE = ("export", "git", "enroot")
"""Programs of others: shown, not run."""


def commands(page: Path) -> list[str]:
    """Return the command lines of a page's blocks, without their remarks."""
    blocks = re.findall(r"^```\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    lines = [re.sub(r"\s+#.*", "", line) for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def split(line: str) -> tuple[dict[str, str], list[str]]:
    """Return a command line's settings, and its words."""
    words = shlex.split(line.replace("$PWD", str(ROOT)).replace("~", str(Path.home())))
    first = next(index for index, word in enumerate(words) if not re.match(r"[A-Z_]+=", word))
    return dict(word.split("=", 1) for word in words[:first]), words[first:]


@pages
def test_every_command_of_a_page_can_be_planned(page: Path) -> None:
    planned = 0
    for line in commands(page):
        settings, words = split(line)
        program, arguments = words[0], words[1:]
        if program in ELSEWHERE:
            continue
        if program == "make":
            done = make("-n", *(word for word in arguments if word != "-n"), **settings)
        else:
            done = run(program, *arguments, **settings | {"DRY_RUN": "1", "ENGINE": "docker"})
        assert done.returncode == 0, (line, done.stderr)
        planned += 1
    assert planned >= 3


def worlds() -> Iterator[tuple[str, Recipe, int]]:
    """Yield every training that the pages and scripts show: line, recipe, number of processes."""
    scripts = [path.read_text() for path in (ROOT / "launch").iterdir() if path.is_file()]
    shown = [re.sub(r"^#? +", "", line) for text in scripts for line in text.splitlines()]
    of_all_nodes: dict[str, str] = {}
    for line in [*(line for page in PAGES for line in commands(page)), *shown]:
        if line.startswith("export "):
            of_all_nodes = dict(re.findall(r"(\w+)=(\S+)", line))
        starts = r"([A-Z_]+=\S+ )*(make|sbatch|docker/run.sh|launch/pretrain.sh) "
        if not re.match(starts, line) or "pretrain" not in line:
            continue
        settings, words = split(re.sub(r"  +\w.*", "", line))
        settings |= dict(word.split("=", 1) for word in words if re.match("[A-Z]+=", word))
        if "NODE_RANK" in settings:
            settings = of_all_nodes | settings
        overrides = [
            word
            for word in [*words, *settings.get("ARGS", "").split()]
            if "." in word and re.match(r"[a-z_.]+=", word)
        ]
        for size in ("tensor", "pipeline"):
            value = settings.get(size[0].upper() + "P", "1")
            overrides.append(f"parallel.{size}_model_parallel_size={value}")
        nodes = re.search(r"(?:--nodes|NODES|NNODES)=(\d+)", line)
        count = int(nodes[1] if nodes else settings.get("NNODES", "1"))
        recipe = settings.get("RECIPE", "article")
        usual = 16 if settings.get("BASE") == "volta" else 2 if recipe == "chorales" else 8
        yield line, load_recipe(recipe, overrides), int(settings.get("NPROC", usual)) * count


def test_every_training_that_is_shown_fits_its_gpus() -> None:
    shown = list(worlds())
    assert len(shown) >= 12
    assert {16, 8, 4} <= {processes for _, _, processes in shown}
    for line, recipe, processes in shown:
        assert check_layout(recipe, processes) >= 1, line
