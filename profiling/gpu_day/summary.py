"""The day as JSON and as one page of Markdown, to be kept in profiling/results/."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from megatron_music.files import write_text
from megatron_music.formatting import markdown_table
from profiling.gpu_day.day import Result

PAGES = {"bench": "Training speed", "sweep": "Sweep"}
"""Sections whose values hold a page of Markdown of their own."""


@dataclass(frozen=True)
class Head:
    """What a result is worth nothing without."""

    date: str
    device: str
    machine: str
    """With versions."""
    command: str
    commit: str
    is_dry: bool


def write_summary(head: Head, results: Sequence[Result], seconds: float, output: Path) -> Path:
    """Write `summary.json` and the page into a folder; return the page's path."""
    values = {
        **asdict(head),
        "seconds": round(seconds, 1),
        "sections": [asdict(one) for one in results],
    }
    write_text(output / "summary.json", json.dumps(values, indent=1, default=str) + "\n")
    page = output / page_name(head)
    write_text(page, markdown(head, results, seconds))
    return page


def page_name(head: Head) -> str:
    """Return the name of the page's file: the date, the device, what it is."""
    return f"{head.date}_{head.device}_gpu-day{'-dry-run' if head.is_dry else ''}.md"


def markdown(head: Head, results: Sequence[Result], seconds: float) -> str:
    """Return the page."""
    kind = "GPU day: a dry run without a GPU" if head.is_dry else "GPU day"
    parts = [
        f"# {kind}, {head.date}",
        f"{head.machine}. Commit {head.commit}. {seconds:.0f} s.",
        f"    {head.command}",
        markdown_table(
            ("section", "proves", "outcome", "s", "reason"),
            ((r.name, r.proves, r.outcome, f"{r.seconds:.0f}", r.reason) for r in results),
        ),
    ]
    for one in results:
        parts += list(_section(one))
    return "\n\n".join(parts) + "\n"


def _section(one: Result) -> Iterable[str]:
    values = {name: value for name, value in one.values.items() if name not in ("page", "rows")}
    page = one.values.get("page")
    if not values and not page:
        return
    yield f"## {PAGES.get(one.name, one.name)}"
    if page:
        yield _lower(page).strip()
    scalars = {name: value for name, value in values.items() if not isinstance(value, dict)}
    if scalars:
        yield markdown_table(("", ""), ((name, _text(value)) for name, value in scalars.items()))
    for name, value in values.items():
        if isinstance(value, dict):
            yield f"### {name}"
            yield markdown_table(("", ""), ((key, _text(each)) for key, each in value.items()))


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_text(each)}" for name, each in value.items())
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _lower(page: str) -> str:
    """Return a page with its headings two levels lower; what is in code blocks stays."""
    lines, in_code = [], False
    for line in page.splitlines():
        in_code ^= line.startswith("```")
        lines.append(f"##{line}" if line.startswith("#") and not in_code else line)
    return "\n".join(lines)
