"""Numbers, names and tables in text."""

import os
import re
from collections.abc import Iterable, Sequence

_CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def counted(count: int, noun: str, plural: str = "", width: int = 0) -> str:
    """Return a count with its noun: 1 piece, 1,000 pieces; numbers are right-aligned in `width`."""
    return f"{count:>{width},} {noun if count == 1 else plural or noun + 's'}"


def escape_controls(text: str) -> str:
    """Return lines whose control characters, as of file names, are seen and not obeyed."""
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def printable(name: str) -> str:
    """Return a file name as one line of text, also where it is not valid UTF-8."""
    return escape_controls(os.fsencode(name).decode("utf-8", "replace").replace("\n", " "))


def markdown_table(head: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table; bars and line ends inside cells are escaped."""
    lines: list[Iterable[object]] = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(str(one).replace("|", "\\|").replace("\n", " ") for one in line) + " |"
        for line in lines
    )
