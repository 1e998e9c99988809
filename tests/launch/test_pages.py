"""The pages for each kind of machine: every command on them is one that exists."""

import re
import shlex
from pathlib import Path

import pytest

from tests.launch.scripts import ROOT, make, run

PAGES = [ROOT / "docs" / f"{name}.md" for name in ("laptop", "workstation", "dgx", "slurm")]
PAGES.append(ROOT / "docker" / "README.md")
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)

ELSEWHERE = ("git", "enroot")
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


@pages
def test_a_page_is_short_and_its_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    assert text.count("\n") < 70
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES[:-1], ids=lambda page: page.stem)
def test_a_page_says_what_was_run_and_what_was_only_checked(page: Path) -> None:
    table = page.read_text().split("| what | how it was tried |")[1]
    assert re.search(r"\brun\b", table)
    assert re.search(r"only checked|not tried|not run", table)
