"""The pictures of an evaluation, as PNG bytes."""

from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from megatron_music.evaluate.bootstrap import Estimate, FloatArray
from megatron_music.evaluate.comparison import SETS, FigureRow, HistogramRow
from megatron_music.evaluate.embedding import EmbeddingMap, by_fifths, by_interval
from megatron_music.score.pianoroll import instrument_label, pitch_name

COLOURS = ("#9aa0a6", "#2f6fb5", "#d1603c")
"""Of training music, held-out music and composed music, here as everywhere in a report."""

_DPI = 110
_DEGREES = ("1", "♭2", "2", "♭3", "3", "4", "♯4", "5", "♭6", "6", "♭7", "7")
_INTERVAL_CLASSES = (
    "octave",
    "minor 2nd,\nmajor 7th",
    "major 2nd,\nminor 7th",
    "minor 3rd,\nmajor 6th",
    "major 3rd,\nminor 6th",
    "4th, 5th",
    "tritone",
)


def figures_plot(rows: Mapping[str, FigureRow]) -> bytes:
    """Draw each figure's mean and interval in the three sets of music."""
    picture = Figure(figsize=(11, 1.0 + 1.6 * -(-len(rows) // 2)), layout="constrained")
    panels = picture.subplots(-(-len(rows) // 2), 2, squeeze=False).ravel()
    for axes, (name, row) in zip(panels, rows.items(), strict=False):
        for place, (mean, colour) in enumerate(zip(row.means, COLOURS, strict=True)):
            _whisker(axes, place, mean, colour)
        axes.set_yticks(range(len(SETS)), SETS, fontsize=8)
        axes.set_ylim(len(SETS) - 0.5, -0.5)
        axes.set_title(name, fontsize=9, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(rows) :]:
        axes.set_visible(False)
    return _png(picture)


def _whisker(axes: Axes, place: float, estimate: Estimate, colour: str) -> None:
    axes.plot([estimate.low, estimate.high], [place, place], color=colour, linewidth=3)
    axes.plot([estimate.value], [place], "o", color=colour, markersize=7)


def histograms_plot(rows: Sequence[HistogramRow]) -> bytes:
    """Draw the histograms of held-out and of composed music, with their intervals."""
    picture = Figure(figsize=(11, 2.5 * len(rows)), layout="constrained")
    panels = picture.subplots(len(rows), 1, squeeze=False).ravel()
    for axes, row in zip(panels, rows, strict=True):
        places = np.arange(row.means.shape[1])
        for index in (1, 2):
            offset = (index - 1.5) * 0.4
            errors = np.abs(row.intervals[index] - row.means[index])
            axes.bar(
                places + offset,
                row.means[index],
                0.4,
                yerr=errors,
                color=COLOURS[index],
                error_kw={"linewidth": 0.8, "ecolor": "#444444"},
                label=SETS[index],
            )
        axes.set_xticks(places, _labels(row), fontsize=7.5)
        axes.set_xlim(-0.6, len(places) - 0.4)
        axes.set_title(row.name, fontsize=9, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=8)
    return _png(picture)


def _labels(row: HistogramRow) -> list[str]:
    size = row.means.shape[1]
    if row.name.startswith("pitch classes"):
        return list(_DEGREES)
    if row.name == "melodic interval":
        return [
            f"{semitones:+d}" if semitones else "0"
            for semitones in range(-(size // 2), size // 2 + 1)
        ]
    if row.name == "harmonic interval class":
        return list(_INTERVAL_CLASSES)
    first = int(row.name == "note length")
    stride = max(1, size // 24)
    return ["" if i % stride else str(i + first) for i in range(size)]


def loss_plot(kinds: dict[str, Estimate], illegal: dict[str, Estimate]) -> bytes:
    """Draw the nats of each kind of token, and the probability of illegal ones in its place."""
    picture = Figure(figsize=(11, 1.0 + 0.4 * len(kinds)), layout="constrained")
    panels = picture.subplots(1, 2)
    titles = ("nats a token", "probability of illegal tokens, per cent")
    for axes, values, scale, title in zip(panels, (kinds, illegal), (1, 100), titles, strict=True):
        for place, one in enumerate(values.values()):
            scaled = Estimate(one.value * scale, one.low * scale, one.high * scale)
            _whisker(axes, place, scaled, COLOURS[1])
        axes.set_yticks(range(len(values)), list(values), fontsize=8)
        axes.set_ylim(len(values) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.grid(axis="x", color="#e4e6ea")
        axes.set_title(title, fontsize=9, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    return _png(picture)


def scores_plot(real: FloatArray, composed: FloatArray, runs: Sequence[dict[int, int]]) -> bytes:
    """Draw the critic's scores, and the longest runs of bars shared with training music."""
    picture = Figure(figsize=(11, 2.8), layout="constrained")
    scores, copies = picture.subplots(1, 2)
    bins = np.linspace(0, 1, 21)
    for values, index in ((real, 1), (composed, 2)):
        weights = np.full(len(values), 1 / max(len(values), 1))
        kind = "real" if index == 1 else SETS[index]
        colour = COLOURS[index]
        scores.hist(values, bins, weights=weights, color=colour, alpha=0.6, label=kind)
    scores.set_title("the critic's score: 1 looks real", fontsize=9, loc="left")
    scores.legend(frameon=False, fontsize=8)
    for runs_of, index in zip(runs, (1, 2), strict=True):
        total = max(sum(runs_of.values()), 1)
        places = [bars + (index - 1.5) * 0.4 for bars in runs_of]
        heights = [count / total for count in runs_of.values()]
        copies.bar(places, heights, 0.4, color=COLOURS[index], label=SETS[index])
    copies.set_title("longest run of bars found in training music", fontsize=9, loc="left")
    copies.set_xlabel("bars", fontsize=8)
    copies.legend(frameon=False, fontsize=8)
    for axes in (scores, copies):
        axes.set_ylabel("share of pieces", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return _png(picture)


def notes_plot(notes: EmbeddingMap) -> bytes:
    """Draw the similarity of the model's notes: by pitch, by interval, by fifths, in the plane."""
    picture = Figure(figsize=(11, 8.5), layout="constrained")
    panels = picture.subplots(2, 2)
    low, high = int(notes.codes.min()), int(notes.codes.max())
    extent = (low - 0.5, high + 0.5, high + 0.5, low - 0.5)
    image = panels[0, 0].imshow(notes.cosines, cmap="RdBu_r", vmin=-1, vmax=1, extent=extent)
    picture.colorbar(image, ax=panels[0, 0], shrink=0.8)
    octaves = [pitch for pitch in range(low, high + 1) if pitch % 12 == 0]
    panels[0, 0].set_xticks(octaves, [pitch_name(pitch) for pitch in octaves], fontsize=8)
    panels[0, 0].set_yticks(octaves, [pitch_name(pitch) for pitch in octaves], fontsize=8)
    panels[0, 0].set_title("cosine of two notes", fontsize=9, loc="left")
    _bars(panels[0, 1], by_interval(notes)[1:], 1, "mean cosine by interval, semitones")
    _bars(panels[1, 0], by_fifths(notes), 0, "mean cosine by steps on the circle of fifths")
    _scatter(panels[1, 1], notes, [pitch_name(pitch) for pitch in notes.codes.tolist()])
    panels[1, 1].set_title("t-SNE, coloured round the circle of fifths", fontsize=9, loc="left")
    return _png(picture)


def _bars(axes: Axes, values: FloatArray, first: int, title: str) -> None:
    places = np.arange(first, first + len(values))
    colours = [COLOURS[1] if place % 12 else COLOURS[2] for place in places]
    axes.bar(places, np.nan_to_num(values), color=colours)
    axes.axhline(0, color="#444444", linewidth=0.8)
    axes.set_xticks(places, [str(place) for place in places], fontsize=7.5)
    axes.set_title(title, fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def _scatter(axes: Axes, of: EmbeddingMap, labels: Sequence[str]) -> None:
    if len(of.plane):
        around = of.codes * 7 % 12
        axes.scatter(
            of.plane[:, 0], of.plane[:, 1], c=around, cmap="twilight_shifted", s=90, vmin=0, vmax=12
        )
        for place, label in zip(of.plane, labels, strict=True):
            axes.annotate(
                label,
                place,
                fontsize=6.5,
                ha="center",
                va="bottom",
                xytext=(0, 5),
                textcoords="offset points",
            )
    axes.set_xticks([])
    axes.set_yticks([])


def instruments_plot(instruments: EmbeddingMap) -> bytes:
    """Draw the similarity of the model's instruments."""
    names = [instrument_label(code) for code in instruments.codes.tolist()]
    return _png(_cosines(instruments, names, "cosine of two instruments", 1)[0])


def attributes_plot(attributes: EmbeddingMap, words: Sequence[str]) -> bytes:
    """Draw the similarity of the model's labels, and their map in the plane."""
    names = [words[code] for code in attributes.codes.tolist()]
    planes = 1 + (len(attributes.plane) > 0)
    picture, panels = _cosines(attributes, names, "cosine of two labels", planes)
    if planes > 1:
        _scatter(panels[1], attributes, names)
        panels[1].set_title("t-SNE", fontsize=9, loc="left")
    return _png(picture)


def _cosines(
    of: EmbeddingMap, names: Sequence[str], title: str, panels: int
) -> tuple[Figure, list[Axes]]:
    """Draw the cosines of what has these names, in the first of some panels."""
    size = max(4.0, 1.5 + 0.28 * len(names))
    picture = Figure(figsize=((size + 1.5) * panels, size), layout="constrained")
    all_axes: list[Axes] = list(picture.subplots(1, panels, squeeze=False)[0])
    axes = all_axes[0]
    image = axes.imshow(of.cosines, cmap="RdBu_r", vmin=-1, vmax=1)
    picture.colorbar(image, ax=axes, shrink=0.8)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_title(title, fontsize=9, loc="left")
    return picture, all_axes


def _png(picture: Figure) -> bytes:
    file = BytesIO()
    # Without matplotlib's version, so that the same report has the same bytes.
    picture.savefig(file, format="png", dpi=_DPI, metadata={"Software": None})
    return file.getvalue()
