"""The report of a sweep: report.html (nothing is loaded from elsewhere), .md, .csv and .png."""

import base64
import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from megatron_music.errors import InputError, MissingError
from megatron_music.files import atomic_write, write_text
from megatron_music.formatting import markdown_table
from megatron_music.profiling.report.columns import (
    COLUMNS,
    Line,
    Table,
    as_table,
    lines_of,
    settings,
)
from megatron_music.profiling.report.plots import (
    scaling_chart,
    timeline_chart,
    utilisation_chart,
    where_chart,
)
from megatron_music.profiling.report.times import TimeBreakdown, read_timeline, time_breakdown
from megatron_music.profiling.sweep.results import (
    FORMULAS,
    RANKED_BY,
    Row,
    best_first,
    read_rows,
    scaling_curves,
)

TITLE = "Profile of training"
TEMPLATE = Path(__file__).with_name("report.html.j2")
REPEAT = "The command of each row."
TRACED_HEAD = (
    *("row", "configuration", "iterations", "step, ms (NVTX)", "step, ms (log)"),
    *("TFLOP/s per device (NVTX)", "TFLOP/s per device (log)", "communication hidden"),
)

TIMELINES = 3
"""Number of the best rows whose timelines are shown by default."""

WHERE_MOST = 12
"""Configurations in the picture of where the time goes; the best ones, and all that were traced."""

TOO_LOW = (
    "Model FLOPs above 100 % of the peak: the measured peak is too low, because the machine did "
    "other work while it was measured. Do not use these utilisations. Measure again on an idle "
    "machine, in another folder."
)
_SOURCES: Mapping[str, str] = {
    "kernels": "Traced by Nsight Systems in a separate run. Shares of the time from a device's "
    "first kernel to its last, mean over the devices. Only exposed communication is counted: "
    "communication while no other kernel ran.",
    "phases": "Timed by the first process, over the measured iterations. Communication is the "
    "reduction of gradients and what pipeline stages send, including the wait for other "
    "processes. Tensor parallel communication is part of forward and backward.",
}
_SCALING = (
    "Tokens/s of all devices by number of processes, for the fastest layout of each number. The "
    "percentage compares the rate of one device with that at the fewest processes. Processes on "
    "a CPU share one device, so the ideal line is flat."
)
_TIMELINE = (
    "Recorded during the whole run, start-up included. On GPUs: by NVML, with the mean, minimum "
    "and maximum over the GPUs used. GPU utilisation is the share of time in which any kernel "
    "ran. On a CPU: load and memory of the whole machine, other programs included."
)
_PARTS = (
    "{0.processes} proc.",
    "TP={0.tensor_parallel} PP={0.pipeline_parallel}",
    "micro {0.micro_batch_size}",
    "global {0.global_batch_size}",
    "{0.precision}",
    "recompute {0.recompute}",
    "l={0.num_layers} h={0.hidden_size}",
    "sequence {0.seq_length}",
)
"""What a row's short name is made of."""


class Picture(NamedTuple):
    """A PNG: its file's name, what it shows, how to read it."""

    file: str
    title: str
    text: str
    png: bytes


@dataclass(frozen=True)
class Report:
    """A sweep's rows, best first; what did not run; where time went; the pictures."""

    html: Path
    ran: tuple[Row, ...]
    lines: tuple[Line, ...]
    """The figures of the rows that ran."""
    table: Table
    rest: tuple[Row, ...]
    where: tuple[TimeBreakdown, ...]
    pictures: tuple[Picture, ...]

    @property
    def all(self) -> list[Row]:
        """Every row, in the report's order."""
        return [*self.ran, *self.rest]

    @property
    def traced(self) -> list[list[str]]:
        """What nsys traced, as a person reads it."""
        return [traced_cells(one) for one in self.where if one.source == "kernels"]


def write_report(folder: Path, chosen: Sequence[str] = ()) -> Report:
    """Write the report of a sweep's folder into it; `chosen` rows have their timelines shown.

    Raises InputError where no sweep has left a row or a chosen one did not run, MissingError
    without jinja2, WriteError.
    """
    report = gather(folder, chosen)
    write_text(report.html, as_html(report))
    write_text(folder / "report.md", as_markdown(report))
    write_text(folder / "report.csv", as_csv(report))
    # An earlier report may have had more pictures.
    for stale in folder.glob("report-*.png"):
        stale.unlink()
    for picture in report.pictures:
        with atomic_write(folder / picture.file) as temporary:
            temporary.write_bytes(picture.png)
    return report


def as_html(report: Report) -> str:
    """Return the report as one page that loads nothing."""
    try:
        from jinja2 import Environment
    except ImportError as fault:
        raise MissingError("the report needs jinja2; install it: pip install jinja2") from fault
    template = Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        title=TITLE,
        # `as_markdown` says the same in the same order.
        summary=summary(report),
        report=report,
        traced_head=TRACED_HEAD,
        notes=notes(report.ran),
        repeat=REPEAT,
        pictures=[
            (one.title, one.text, base64.b64encode(one.png).decode()) for one in report.pictures
        ],
    )


def as_markdown(report: Report) -> str:
    """Return the report as Markdown that links to the pictures."""
    parts = [f"# {TITLE}", summary(report)]
    if report.ran:
        table = report.table
        parts += ["## What ran, best first", markdown_table(table.headings, table.cells)]
        if table.common:
            same = "; ".join(f"{heading} {value}" for heading, value in table.common)
            parts += [f"The same in all rows: {same}."]
        for one in report.pictures:
            parts += [f"## {one.title}", one.text, f"![{one.title}]({one.file})"]
    if report.traced:
        parts += ["## Traced iterations against the log"]
        parts += [markdown_table(TRACED_HEAD, report.traced)]
    if report.rest:
        cells = [[row.key, row.label, row.outcome, row.reason] for row in report.rest]
        parts += ["## What did not run"]
        parts += [markdown_table(["row", "configuration", "outcome", "reason"], cells)]
    parts += ["## How to read it", "\n".join(f"- {note}" for note in notes(report.ran))]
    parts += ["## How to repeat a row", REPEAT]
    parts += [f"{row.key}: {row.label}\n\n    {row.command}" for row in report.all]
    return "\n\n".join(parts) + "\n"


def as_csv(report: Report) -> str:
    """Return a line a configuration, figures unrounded; what did not run has its layout alone."""
    file = StringIO()
    ends = ("outcome", "reason", "command")
    writer = csv.DictWriter(file, [*COLUMNS, *ends], lineterminator="\n")
    writer.writeheader()
    lines = [*report.lines, *map(settings, report.rest)]
    for row, line in zip(report.all, lines, strict=True):
        writer.writerow(line | {end: getattr(row, end) for end in ends})
    return file.getvalue()


def traced_cells(one: TimeBreakdown) -> list[str]:
    """Return what nsys traced of a configuration, as a person reads it."""
    traced = one.traced
    if traced is None:
        gap = one.problem or "the capture holds no iteration"
        return [one.row.key, one.row.label, gap, *["-"] * (len(TRACED_HEAD) - 3)]
    log_s, log_tflops, hidden = (
        traced[name] for name in ("log_step_s", "log_tflops", "hidden_share")
    )
    return [
        one.row.key,
        one.row.label,
        str(traced["iterations"]),
        f"{1000 * traced['step_s']:.1f}",
        "-" if log_s is None else f"{1000 * log_s:.1f}",
        f"{traced['tflops']:.4g}",
        "-" if log_tflops is None else f"{log_tflops:.4g}",
        "-" if hidden is None else f"{hidden:.1%}",
    ]


def gather(folder: Path, chosen: Sequence[str] = ()) -> Report:
    """Read a sweep's folder; `chosen` are the keys of the rows whose timelines are shown.

    Raises InputError where no sweep has left a row, and for a key of no row that ran.
    """
    rows = read_rows(folder)
    if not rows:
        raise InputError(f"{folder} holds no row of a sweep; run 'megatron-music profile sweep'")
    ran = best_first(rows)
    known = {row.key: row for row in ran}
    if unknown := [key for key in chosen if key not in known]:
        raise InputError(
            f"no row {unknown[0]} ran in {folder}; choose of {', '.join(known) or 'none'}"
        )
    where = [one for row in ran if (one := time_breakdown(row, folder)) is not None]
    timed = [known[key] for key in chosen] or ran[:TIMELINES]
    lines = lines_of(ran)
    return Report(
        html=folder / "report.html",
        ran=tuple(ran),
        lines=tuple(lines),
        table=as_table(lines),
        rest=tuple(row for row in rows if row.key not in known),
        where=tuple(where),
        pictures=tuple(_pictures(ran, where, timed, folder)),
    )


def _pictures(
    ran: Sequence[Row], where: Sequence[TimeBreakdown], timed: Sequence[Row], folder: Path
) -> Iterator[Picture]:
    names = {row.key: name for row, name in zip(ran, short_labels(ran), strict=True)}
    yield Picture(
        "report.png",
        "Utilisation by configuration",
        "Share of the dense peak by each formula. equation3 counts hardware FLOPs, the other two "
        "count model FLOPs.",
        utilisation_chart(ran, names),
    )
    for source, text in _SOURCES.items():
        parts = [one for one in where if one.source == source and one.shares]
        if parts:
            picture = where_chart(parts[:WHERE_MOST], names)
            title = f"Where the time goes: {source}"
            yield Picture(f"report-{source}.png", title, text, picture)
    if curves := scaling_curves(ran):
        yield Picture("report-scaling.png", "Scaling", _SCALING, scaling_chart(curves))
    found = [(names[row.key], read_timeline(row, folder)) for row in timed]
    if timelines := [(name, line) for name, line in found if line is not None]:
        picture = timeline_chart(timelines)
        yield Picture("report-timeline.png", "Over the time of a run", _TIMELINE, picture)


def summary(report: Report) -> str:
    """Say in a sentence or two how many ran and which was best."""
    counts = f"{len(report.ran)} of {len(report.all)} configurations ran."
    if not report.ran:
        return counts
    best = report.ran[0]
    share = best.utilisation()
    of_peak = "" if share is None else f" ({share:.2%} of the peak, {RANKED_BY})"
    return (
        f"{counts} Best on {best.device}: {best.label}: {best.tokens_per_s:,.0f} tokens/s and "
        f"{best.tflops():.4g} TFLOP/s per device{of_peak}."
    )


def notes(ran: Sequence[Row]) -> list[str]:
    """Say what the figures are: formulas, peaks, medians, devices."""
    peaks = dict.fromkeys(
        f"{one.device}, {one.precision}: {one.peak_tflops:.4g} TFLOP/s ({one.peak_source})"
        for one in ran
        if one.peak_tflops is not None
    )
    return [
        *([TOO_LOW] if any((one.utilisation() or 0.0) > 1 for one in ran) else []),
        *(f"{name}: {formula.meaning}." for name, formula in FORMULAS.items()),
        "equation3 gives hardware FLOPs, the other two give model FLOPs. Quote a utilisation "
        "together with the name of its formula.",
        *(f"Peak of {peak}." for peak in peaks),
        *dict.fromkeys(f"Software: {one.software}." for one in ran if one.software),
        *dict.fromkeys(f"NVML: {one.nvml_remark}." for one in ran if one.nvml_remark),
        "A peak is the dense peak of one device. It is taken from the manufacturer's data sheet "
        "if the exact name is known. Otherwise matrix products are timed here before and after "
        "the runs, and the higher rate is used. Other work on the machine lowers it.",
        "Batch a of b: micro batch a, global batch b, in sequences. l: layers, h: hidden size.",
        "Step time is the median of the iterations after the warm-up. Rates are for one device. "
        "All processes on a CPU share one device.",
        f"Rows are sorted by TFLOP/s per device, {RANKED_BY}, the best first.",
        "On GPUs, memory, power and energy are NVML's. On a CPU, memory is that of the first "
        "process. The estimate is of the process that needs most, without what CUDA and NCCL "
        "take. Energy is that of the GPUs used, over the measured iterations. A dash: not "
        "recorded.",
    ]


def short_labels(rows: Sequence[Row]) -> list[str]:
    """Return a name for each row by what is not the same in all of them; one row in full."""
    texts = [[part.format(row) for row in rows] for part in _PARTS]
    differing = [of_part for of_part in texts if len(set(of_part)) > 1]
    if not differing:
        return [row.label for row in rows]
    return [", ".join(parts) for parts in zip(*differing, strict=True)]
