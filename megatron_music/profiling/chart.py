"""Utilisation by configuration, as a picture."""

from collections.abc import Sequence
from io import BytesIO

from megatron_music.profiling.figures import FORMULAS, Figures

MOST = 24
"""Configurations in a picture; the best ones."""

BAR = 0.26
COLOURS = ("#9ecae1", "#4292c6", "#084594")


def utilisation_chart(figures: Sequence[Figures]) -> bytes:
    """Return a PNG: a bar for each formula, configurations from the best down."""
    from matplotlib.figure import Figure

    shown = [one for one in figures if one.utilisation][:MOST]
    picture = Figure(figsize=(10, 1.6 + 0.55 * max(1, len(shown))), layout="constrained")
    axes = picture.subplots()
    for place, (name, colour) in enumerate(zip(FORMULAS, COLOURS, strict=True)):
        heights = [row + (place - 1) * BAR for row in range(len(shown))]
        widths = [100 * one.utilisation[name] for one in shown]
        axes.bar_label(
            axes.barh(heights, widths, BAR, label=name, color=colour),
            fmt="%.1f",
            padding=2,
            fontsize=7,
        )
    axes.set_yticks(range(len(shown)), [one.row.label for one in shown], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("utilisation, % of the dense peak")
    axes.margins(x=0.08)
    if shown:
        axes.legend(title="FLOPs by", loc="lower right", fontsize=8)
    else:
        axes.set_title("no configuration ran")
    file = BytesIO()
    picture.savefig(file, format="png", dpi=120, metadata={"Software": None})
    return file.getvalue()
