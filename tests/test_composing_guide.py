"""The guide to composing: its commands are parsed by the program, its Python names are there."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

from typer.main import get_command

from megatron_music.cli.app import app
from megatron_music.generate.session import Session
from megatron_music.generate.song_request import Request

GUIDE = (Path(__file__).parents[1] / "docs" / "composing.md").read_text(encoding="utf-8")


def options_of(name: str) -> set[str]:
    """Return the options of a command."""
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    return {
        option
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }


def test_every_option_in_the_guide_is_one() -> None:
    lines = [line for line in GUIDE.splitlines() if line.startswith("megatron-music ")]
    assert len(lines) >= 6
    for line in lines:
        _, name, *words = shlex.split(line)
        assert {word for word in words if word.startswith("-")} <= options_of(name), line
    told = set(re.findall(r"`(?:[^`]* )?(--[a-z-]+)", GUIDE))
    assert told <= options_of("sample")


def test_every_wish_in_the_guide_has_the_name_of_a_request() -> None:
    names = {field.name for field in fields(Request)}
    calls = re.findall(r"session\.(\w+)\(([^\n]*)\)", GUIDE)
    assert {"compose", "keep", "fill", "vary"} <= {name for name, _ in calls}
    for name, wishes in calls:
        assert hasattr(Session, name)
        assert set(re.findall(r"(\w+)=", wishes)) <= names
