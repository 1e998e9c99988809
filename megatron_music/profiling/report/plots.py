"""The pictures of a report, as PNG files."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from megatron_music.profiling.report.times import EXPOSED, IDLE, TimeBreakdown, Timeline
from megatron_music.profiling.sweep.results import FORMULAS, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SOFT, GRID = "#6b7280", "#e5e7eb"
ACCENT, IDEAL = "#2171b5", "#9ca3af"

MOST = 24
"""Configurations in a picture; the best ones."""

BAR = 0.26
FORMULA_COLOURS = ("#9ecae1", "#4292c6", "#084594")
PART_COLOURS = {
    "gemm": "#08519c",
    "attention": "#4292c6",
    "norm": "#74c476",
    "optimizer": "#238b45",
    "elementwise": "#c7e9c0",
    "memory": "#bcbddc",
    "other": "#969696",
    EXPOSED: "#d94801",
    IDLE: "#efefef",
    "forward": "#4292c6",
    "backward": "#08519c",
    "communication": "#d94801",
}

WRITTEN = 0.04
"""A part of at least this share has its figure written into it."""

ACROSS = 3
"""Curves in a row of the picture."""

TITLE_WIDTH = 44
"""Letters in a line of a title."""


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure; sizes in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def bare_axes(axes: "Axes", grid: str) -> None:
    """Leave axes with what helps to read them: no frame, a faint grid along `grid` (x or y)."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(IDEAL)
    axes.grid(axis=grid, color=GRID, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.tick_params(colors=SOFT, labelsize=8)


def png(figure: "Figure") -> bytes:
    """Return a figure as a PNG; the same figure gives the same bytes."""
    file = BytesIO()
    # matplotlib writes its version into the file: two installations would differ in nothing else.
    figure.savefig(file, format="png", dpi=120, metadata={"Software": None})
    return file.getvalue()


def utilisation_chart(ran: Sequence[Row], names: Mapping[str, str]) -> bytes:
    """Return a PNG: a bar for each formula, configurations from the best down, named by key."""
    shown = [row for row in ran if row.peak_tflops][:MOST]
    # A fixed height a row: labels keep their size, however many configurations there are.
    picture = new_figure(10, 1.4 + 0.55 * max(1, len(shown)))
    axes = picture.subplots()
    bare_axes(axes, "x")
    formulas = zip(FORMULAS.items(), FORMULA_COLOURS, strict=True)
    for place, ((name, formula), colour) in enumerate(formulas):
        heights = [at + (place - 1) * BAR for at in range(len(shown))]
        widths = [100 * (row.utilisation(name) or 0.0) for row in shown]
        label = f"{name} ({formula.kind} FLOPs)"
        bars = axes.barh(heights, widths, BAR, label=label, color=colour)
        axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=7)
    axes.set_yticks(range(len(shown)), [names[row.key] for row in shown], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("utilisation, % of the dense peak", fontsize=9)
    axes.margins(x=0.08, y=0.02)
    if shown:
        picture.legend(loc="outside upper right", ncols=3, fontsize=8)
    else:
        axes.set_title("no configuration ran")
    return png(picture)


def where_chart(shown: Sequence[TimeBreakdown], names: Mapping[str, str]) -> bytes:
    """Return a PNG; all of one source, in the order given, named by key."""
    picture = new_figure(10, 1.3 + 0.42 * len(shown))
    axes = picture.subplots()
    bare_axes(axes, "x")
    left = [0.0] * len(shown)
    for part in dict.fromkeys(name for one in shown for name in one.shares):
        widths = [100 * one.shares.get(part, 0.0) for one in shown]
        colour = PART_COLOURS.get(part, "#969696")
        bars = axes.barh(range(len(shown)), widths, 0.62, left=left, label=part, color=colour)
        texts = [f"{width:.0f}" if width >= 100 * WRITTEN else "" for width in widths]
        ink = "#333333" if part in (IDLE, "elementwise", "memory") else "white"
        axes.bar_label(bars, texts, label_type="center", fontsize=7, color=ink)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(shown)), [names[one.row.key] for one in shown], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, max(100.0, *left))
    axes.set_xlabel("share of the time, %", fontsize=9)
    axes.margins(y=0.02)
    picture.legend(loc="outside upper right", ncols=5, fontsize=8)
    return png(picture)


def scaling_chart(curves: Sequence[Sequence[Row]]) -> bytes:
    """Return a PNG with a panel for each curve: tokens/s of all devices by processes."""
    columns = min(ACROSS, len(curves))
    rows = -(-len(curves) // columns)
    picture = new_figure(max(5.0, 10 / ACROSS * columns), 3.2 * rows)
    panels = picture.subplots(rows, columns, squeeze=False).flat
    # Curves first: where they end, no panel has been taken in vain.
    for curve, axes in zip(curves, panels, strict=False):
        bare_axes(axes, "y")
        processes, base = [row.processes for row in curve], curve[0]
        rates = [row.tokens_per_s * row.devices for row in curve]
        ideal = [base.tokens_per_s * row.devices for row in curve]
        axes.plot(processes, ideal, "--", color=IDEAL, label="ideal")
        axes.plot(processes, rates, "o-", color=ACCENT, label="measured")
        for row, rate in zip(curve, rates, strict=True):
            share, place = f"{row.tokens_per_s / base.tokens_per_s:.0%}", (row.processes, rate)
            axes.annotate(share, place, (6, -12), textcoords="offset points", fontsize=8)
        axes.set_xticks(processes, map(str, processes))
        axes.set_ylim(0, 1.15 * max(*rates, *ideal))
        title = f"l={base.num_layers} h={base.hidden_size}, sequence {base.seq_length}"
        axes.set_title(f"{title}, {base.precision}", fontsize=9)
        axes.set_xlabel("processes", fontsize=9)
        axes.set_ylabel("tokens/s, all devices", fontsize=9)
        axes.margins(x=0.12)
        axes.legend(loc="best", fontsize=8)
    for axes in panels:
        axes.set_visible(False)
    return png(picture)


def timeline_chart(timelines: Sequence[tuple[str, Timeline]]) -> bytes:
    """Return a PNG: a column for each run with its name, a panel for each quantity.

    The time that was measured is shaded.
    """
    rows = max(len(timeline.series) for _, timeline in timelines)
    picture = new_figure(max(6.0, 10 / 3 * len(timelines)), 1.8 * rows + 0.7)
    panels = picture.subplots(rows, len(timelines), squeeze=False, sharey="row", sharex="col")
    for column, (name, timeline) in enumerate(timelines):
        for row, series in enumerate(timeline.series):
            axes = panels[row][column]
            bare_axes(axes, "y")
            if timeline.measured_s:
                axes.axvspan(*timeline.measured_s, color="#fff3cd", label="measured iterations")
            low, high = np.nanmin(series.values, 1), np.nanmax(series.values, 1)
            if (low != high).any():
                axes.fill_between(series.time_s, low, high, color=ACCENT, alpha=0.2, linewidth=0)
            axes.plot(series.time_s, np.nanmean(series.values, 1), color=ACCENT, linewidth=1.2)
            # Where the axis that these share ends
            shown = [one.series[row] for _, one in timelines if row < len(one.series)]
            known = [one.top or float(np.nanmax(one.values)) for one in shown]
            axes.set_ylim(0, (1.08 * max(known) or 1.0))
            if not column:
                axes.set_ylabel(fill(series.heading, 18), fontsize=8)
        panels[0][column].set_title(fill(name, TITLE_WIDTH), fontsize=8)
        panels[-1][column].set_xlabel("seconds", fontsize=9)
    handles, labels = panels[0][0].get_legend_handles_labels()
    if handles:
        picture.legend(handles, labels, loc="outside lower right", fontsize=8)
    return png(picture)
