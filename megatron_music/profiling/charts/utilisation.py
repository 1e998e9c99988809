"""Utilisation by configuration, as a picture."""

from collections.abc import Mapping, Sequence

from megatron_music.profiling.charts.drawing import new_figure, plain, png
from megatron_music.profiling.figures import FORMULAS, KIND, Figures

MOST = 24
"""Configurations in a picture; the best ones."""

BAR = 0.26
COLOURS = ("#9ecae1", "#4292c6", "#084594")


def utilisation_chart(figures: Sequence[Figures], names: Mapping[str, str]) -> bytes:
    """Return a PNG: a bar for each formula, configurations from the best down, named by key."""
    shown = [one for one in figures if one.utilisation][:MOST]
    picture = new_figure(10, 1.4 + 0.55 * max(1, len(shown)))
    axes = picture.subplots()
    plain(axes, "x")
    for place, (name, colour) in enumerate(zip(FORMULAS, COLOURS, strict=True)):
        heights = [row + (place - 1) * BAR for row in range(len(shown))]
        widths = [100 * one.utilisation[name] for one in shown]
        bars = axes.barh(heights, widths, BAR, label=f"{name} ({KIND[name]})", color=colour)
        axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=7)
    axes.set_yticks(range(len(shown)), [names[one.row.key] for one in shown], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("utilisation, % of the dense peak", fontsize=9)
    axes.margins(x=0.08, y=0.02)
    if shown:
        picture.legend(loc="outside upper right", ncols=3, fontsize=8)
    else:
        axes.set_title("no configuration ran")
    return png(picture)
