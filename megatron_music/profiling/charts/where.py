"""Where the time goes, as a picture: a bar a configuration, divided by part."""

from collections.abc import Mapping, Sequence

from megatron_music.profiling.charts.drawing import new_figure, plain, png
from megatron_music.profiling.where import EXPOSED, IDLE, Where

COLOURS = {
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


def where_chart(shown: Sequence[Where], names: Mapping[str, str]) -> bytes:
    """Return a PNG; all of one source, in the order given, named by key."""
    picture = new_figure(10, 1.3 + 0.42 * len(shown))
    axes = picture.subplots()
    plain(axes, "x")
    left = [0.0] * len(shown)
    for part in dict.fromkeys(name for one in shown for name in one.shares):
        widths = [100 * one.shares.get(part, 0.0) for one in shown]
        colour = COLOURS.get(part, "#969696")
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
