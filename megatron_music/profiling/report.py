"""The report of a sweep: report.html (nothing is loaded from elsewhere), .md, .csv and .png."""

import base64
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from megatron_music.errors import MissingError
from megatron_music.files import complete, write_text
from megatron_music.profiling.columns import columns, split
from megatron_music.profiling.contents import Contents, gather, notes, summary
from megatron_music.profiling.figures import Figures
from megatron_music.profiling.rows import Row
from megatron_music.profiling.where import Where

TITLE = "Profile of training"
TEMPLATE = Path(__file__).with_name("report.html.j2")
REPEAT = "The command of each row, as it was run, or would be."
TRACED_HEAD = (
    *("row", "configuration", "iterations", "step, ms (NVTX)", "step, ms (log)"),
    *("TFLOP/s per device (NVTX)", "TFLOP/s per device (log)", "communication hidden"),
)


@dataclass(frozen=True)
class Report:
    """What was written, and the figures in it, best first."""

    html: Path
    ran: tuple[Figures, ...]
    rest: tuple[Row, ...]
    """What failed or was skipped."""


def write_report(folder: Path, chosen: Sequence[str] = ()) -> Report:
    """Write the report of a sweep's folder into it; `chosen` rows have their timelines shown.

    Raises InputError where no sweep has left a row or a chosen one did not run, MissingError
    without jinja2, WriteError.
    """
    contents = gather(folder, chosen)
    write_text(folder / "report.html", as_html(contents))
    write_text(folder / "report.md", as_markdown(contents))
    write_text(folder / "report.csv", as_csv(contents))
    for stale in folder.glob("report-*.png"):
        stale.unlink()
    for picture in contents.pictures:
        with complete(folder / picture.file) as temporary:
            temporary.write_bytes(picture.data)
    return Report(folder / "report.html", contents.ran, contents.rest)


def as_html(contents: Contents) -> str:
    """Return the report as one page that loads nothing."""
    try:
        from jinja2 import Environment
    except ImportError as fault:
        raise MissingError("the report needs jinja2; install it: pip install jinja2") from fault
    template = Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    differing, common = split(contents.ran)
    values: dict[str, Any] = {
        "title": TITLE,
        "summary": summary(contents),
        "columns": differing,
        "common": common,
        "contents": contents,
        "traced_head": TRACED_HEAD,
        "traced": [traced_cells(one) for one in contents.traced],
        "notes": notes(contents.ran),
        "repeat": REPEAT,
        "pictures": [(one, base64.b64encode(one.data).decode()) for one in contents.pictures],
    }
    return template.render(values)


def as_markdown(contents: Contents) -> str:
    """Return the report as Markdown; the pictures lie beside it."""
    parts = [f"# {TITLE}", summary(contents)]
    if contents.ran:
        differing, common = split(contents.ran)
        cells = [[column.show(one) for column in differing] for one in contents.ran]
        parts += ["## What ran, best first", _table([c.heading for c in differing], cells)]
        if common:
            same = "; ".join(f"{heading} {value}" for heading, value in common)
            parts += [f"The same in all rows: {same}."]
        for one in contents.pictures:
            parts += [f"## {one.title}", one.text, f"![{one.title}]({one.file})"]
    if contents.traced:
        traced = [traced_cells(one) for one in contents.traced]
        parts += ["## Traced iterations against the log", _table(TRACED_HEAD, traced)]
    if contents.rest:
        cells = [[row.key, row.label, row.outcome, row.reason] for row in contents.rest]
        parts += ["## What did not run"]
        parts += [_table(["row", "configuration", "outcome", "reason"], cells)]
    parts += ["## How to read it", "\n".join(f"- {note}" for note in notes(contents.ran))]
    parts += ["## How to repeat a row", REPEAT]
    parts += [f"{row.key}: {row.label}\n\n    {row.command}" for row in contents.all]
    return "\n\n".join(parts) + "\n"


def as_csv(contents: Contents) -> str:
    """Return a line a configuration, figures unrounded; what did not run has its layout alone."""
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*(column.name for column in columns()), "outcome", "reason", "command"])
    for one in contents.ran:
        values = [column.value(one) for column in columns()]
        writer.writerow([*values, one.row.outcome, one.row.reason, one.row.command])
    for row in contents.rest:
        layout = [getattr(row, column.name, None) for column in columns()]
        writer.writerow([*layout, row.outcome, row.reason, row.command])
    return file.getvalue()


def traced_cells(one: Where) -> list[str]:
    """Return what nsys traced of a configuration, as a person reads it."""
    traced = one.traced
    if traced is None:
        gap = one.problem or "the capture holds no iteration"
        return [one.row.key, one.row.label, gap, *["-"] * (len(TRACED_HEAD) - 3)]
    return [
        one.row.key,
        one.row.label,
        str(traced.iterations),
        f"{1000 * traced.step_s:.1f}",
        "-" if traced.log_step_s is None else f"{1000 * traced.log_step_s:.1f}",
        f"{traced.tflops:.4g}",
        "-" if traced.log_tflops is None else f"{traced.log_tflops:.4g}",
        "-" if traced.hidden_share is None else f"{traced.hidden_share:.1%}",
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(c) for c in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
