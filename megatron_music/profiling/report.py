"""The report of a sweep: report.html (nothing is loaded from elsewhere), .md, .csv and .png."""

import base64
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from megatron_music.errors import InputError, MissingError
from megatron_music.files import complete, write_text
from megatron_music.profiling.chart import utilisation_chart
from megatron_music.profiling.columns import columns
from megatron_music.profiling.figures import MEANING, RANKED_BY, Figures, best_first
from megatron_music.profiling.rows import Row, read_rows

TITLE = "Profile of training"
TEMPLATE = Path(__file__).with_name("report.html.j2")


@dataclass(frozen=True)
class Report:
    """What was written, and the figures in it, best first."""

    html: Path
    ran: tuple[Figures, ...]
    rest: tuple[Row, ...]
    """What failed or was skipped."""


def write_report(folder: Path) -> Report:
    """Write the report of a sweep's folder into it.

    Raises InputError where no sweep has left a row, MissingError without jinja2, WriteError.
    """
    rows = read_rows(folder)
    if not rows:
        raise InputError(f"{folder} holds no row of a sweep; run 'megatron-music profile sweep'")
    ran = best_first(rows)
    told = {one.row.key for one in ran}
    rest = [row for row in rows if row.key not in told]
    chart = utilisation_chart(ran)
    write_text(folder / "report.html", as_html(ran, rest, chart))
    write_text(folder / "report.md", as_markdown(ran, rest))
    write_text(folder / "report.csv", as_csv(ran, rest))
    with complete(folder / "report.png") as temporary:
        temporary.write_bytes(chart)
    return Report(folder / "report.html", tuple(ran), tuple(rest))


def as_html(ran: Sequence[Figures], rest: Sequence[Row], chart: bytes) -> str:
    """Return the report as one page that loads nothing; `chart` is a PNG."""
    try:
        from jinja2 import Environment
    except ImportError as fault:
        raise MissingError("the report needs jinja2; install it: pip install jinja2") from fault
    template = Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    values: dict[str, Any] = {
        "title": TITLE,
        "summary": summary(ran, rest),
        "columns": columns(),
        "ran": ran,
        "rest": rest,
        "notes": notes(ran),
        "all": _all(ran, rest),
        "chart": base64.b64encode(chart).decode(),
    }
    return template.render(values)


def as_markdown(ran: Sequence[Figures], rest: Sequence[Row]) -> str:
    """Return the report as Markdown; the picture is report.png beside it."""
    parts = [f"# {TITLE}", summary(ran, rest)]
    if ran:
        cells = [[column.show(one) for column in columns()] for one in ran]
        parts += ["## What ran, best first", _table([c.heading for c in columns()], cells)]
        parts += ["![Utilisation by configuration](report.png)"]
    if rest:
        cells = [[row.key, row.label, row.outcome, row.reason] for row in rest]
        parts += ["## What did not run"]
        parts += [_table(["row", "configuration", "outcome", "reason"], cells)]
    parts += ["## How to read it", "\n".join(f"- {note}" for note in notes(ran))]
    parts += ["## How to repeat a row"]
    parts += [f"{row.key}: {row.label}\n\n    {row.command}" for row in _all(ran, rest)]
    return "\n\n".join(parts) + "\n"


def as_csv(ran: Sequence[Figures], rest: Sequence[Row]) -> str:
    """Return a line a configuration, figures unrounded; what did not run has its layout alone."""
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*(column.name for column in columns()), "outcome", "reason", "command"])
    for one in ran:
        values = [column.value(one) for column in columns()]
        writer.writerow([*values, one.row.outcome, one.row.reason, one.row.command])
    for row in rest:
        layout = [getattr(row, column.name, None) for column in columns()]
        writer.writerow([*layout, row.outcome, row.reason, row.command])
    return file.getvalue()


def summary(ran: Sequence[Figures], rest: Sequence[Row]) -> str:
    """Say in a sentence or two how many ran and which was best."""
    counts = f"{len(ran)} of {len(ran) + len(rest)} configurations ran."
    if not ran:
        return counts
    best = ran[0]
    share = best.utilisation.get(RANKED_BY)
    told = "" if share is None else f" ({share:.2%} of the peak, {RANKED_BY})"
    rate = f"{best.tokens_per_s:,.0f} tokens/s"
    return (
        f"{counts} Best on {best.row.device}: {best.row.label}: "
        f"{rate} and {best.tflops[RANKED_BY]:.4g} TFLOP/s per device{told}."
    )


def notes(ran: Sequence[Figures]) -> list[str]:
    """Say what the figures are: formulas, peaks, medians, devices."""
    peaks = dict.fromkeys(
        f"{one.row.device}, {one.row.precision}: {one.row.peak_tflops:.4g} TFLOP/s "
        f"({one.row.peak_source})"
        for one in ran
        if one.row.peak_tflops is not None
    )
    return [
        *(f"{name}: {meaning}." for name, meaning in MEANING.items()),
        "equation3 gives hardware FLOPs, the other two give model FLOPs; a utilisation without "
        "its formula's name is meaningless.",
        *(f"Peak of {peak}." for peak in peaks),
        *dict.fromkeys(f"Software: {one.row.software}." for one in ran if one.row.software),
        "A peak is dense, of one device: from its maker's data sheet where the exact name is "
        "known, else measured here by plain matrix products, before and after the runs, the "
        "better one counting. Whatever else the machine did meanwhile lowers it.",
        "Batch a of b: micro batch a, global batch b, in sequences; l layers, h wide.",
        "Step time is the median of the iterations after the warm-up; rates are for one device. "
        "A CPU is one device, however many processes share it.",
        f"Best first by TFLOP/s per device, {RANKED_BY}.",
        "Memory, power and energy are NVML's; a dash is what was not recorded. Energy is that of "
        "the GPUs used, over the measured iterations.",
    ]


def _all(ran: Sequence[Figures], rest: Sequence[Row]) -> list[Row]:
    return [*(one.row for one in ran), *rest]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(c) for c in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
