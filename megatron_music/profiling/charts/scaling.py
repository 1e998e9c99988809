"""Scaling over processes beside the ideal line, as a picture."""

from collections.abc import Sequence

from megatron_music.profiling.charts.drawing import ACCENT, IDEAL, new_figure, plain, png
from megatron_music.profiling.scaling import Curve

ACROSS = 3
"""Curves beside each other."""


def scaling_chart(curves: Sequence[Curve]) -> bytes:
    """Return a PNG with a panel for each curve: tokens/s of all devices by processes."""
    columns = min(ACROSS, len(curves))
    rows = -(-len(curves) // columns)
    picture = new_figure(max(5.0, 10 / ACROSS * columns), 3.2 * rows)
    panels = picture.subplots(rows, columns, squeeze=False).flat
    for axes, curve in zip(panels, curves, strict=False):
        plain(axes, "y")
        processes = [point.figures.row.processes for point in curve.points]
        rates = [point.tokens_per_s for point in curve.points]
        axes.plot(processes, curve.ideal, "--", color=IDEAL, label="ideal")
        axes.plot(processes, rates, "o-", color=ACCENT, label="measured")
        for point, rate in zip(curve.points, rates, strict=True):
            place = (point.figures.row.processes, rate)
            axes.annotate(
                f"{point.efficiency:.0%}", place, (6, -12), textcoords="offset points", fontsize=8
            )
        axes.set_xticks(processes, map(str, processes))
        axes.set_ylim(0, 1.15 * max(*rates, *curve.ideal))
        axes.set_title(curve.title, fontsize=9)
        axes.set_xlabel("processes", fontsize=9)
        axes.set_ylabel("tokens/s, all devices", fontsize=9)
        axes.margins(x=0.12)
        axes.legend(loc="best", fontsize=8)
    for axes in panels:
        axes.set_visible(False)
    return png(picture)
