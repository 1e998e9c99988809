"""What the hardware did over the time of a run, as a picture."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from megatron_music.profiling.charts.drawing import ACCENT, new_figure, plain, png
from megatron_music.profiling.timeline import Series, Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE_WIDTH = 44
"""Letters in a line of a title."""


def timeline_chart(timelines: Sequence[Timeline], names: Mapping[str, str]) -> bytes:
    """Return a PNG: a column for each run, a panel for each quantity, the measured time shaded."""
    rows = max(len(timeline.series) for timeline in timelines)
    picture = new_figure(max(6.0, 10 / 3 * len(timelines)), 1.8 * rows + 0.7)
    panels = picture.subplots(rows, len(timelines), squeeze=False, sharey="row", sharex="col")
    for column, timeline in enumerate(timelines):
        for row, series in enumerate(timeline.series):
            axes = panels[row][column]
            plain(axes, "y")
            if timeline.measured:
                axes.axvspan(*timeline.measured, color="#fff3cd", label="measured iterations")
            _draw(axes, series)
            axes.set_ylim(0, _top([one.series[row] for one in timelines if row < len(one.series)]))
            if not column:
                axes.set_ylabel(fill(series.heading, 18), fontsize=8)
        panels[0][column].set_title(fill(names[timeline.row.key], TITLE_WIDTH), fontsize=8)
        panels[-1][column].set_xlabel("seconds", fontsize=9)
    handles, names = panels[0][0].get_legend_handles_labels()
    if handles:
        picture.legend(handles, names, loc="outside lower right", fontsize=8)
    return png(picture)


def _draw(axes: "Axes", series: Series) -> None:
    if series.low != series.high:
        axes.fill_between(
            series.time_s, series.low, series.high, color=ACCENT, alpha=0.2, linewidth=0
        )
    axes.plot(series.time_s, series.mean, color=ACCENT, linewidth=1.2)


def _top(shown: Sequence[Series]) -> float:
    """Return where the axis that these share ends."""
    known = [series.top or max(series.high) for series in shown]
    return 1.08 * max(known) or 1.0
