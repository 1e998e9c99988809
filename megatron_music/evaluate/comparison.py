"""Three sets of music side by side: what a model learned from, what it never saw, what it wrote."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from megatron_music.evaluate.bootstrap import Estimate, mean, resampled_ratios
from megatron_music.evaluate.distance import Distance, distance, histogram_overlap
from megatron_music.evaluate.measures import FIGURES, HISTOGRAMS
from megatron_music.score.notes import IntArray, Piece

FloatArray = npt.NDArray[np.float64]

SETS = ("training", "held-out", "composed")
TRAINING, HELD_OUT, COMPOSED = range(3)


@dataclass(frozen=True)
class Music:
    """Windows and the number of the piece that each is cut from."""

    pieces: Sequence[Piece]
    groups: IntArray


@dataclass(frozen=True)
class FigureRow:
    """A figure in the three sets, and how far composed and training music are from held-out.

    `control` is the distance of training music: what two sets of real music differ by.
    """

    name: str
    means: tuple[Estimate, Estimate, Estimate]
    composed: Distance
    control: Distance


@dataclass(frozen=True)
class HistogramRow:
    """A histogram in the three sets.

    `means` is [3, places], `intervals` [3, 2, places]; `overlap` and `control_overlap` say what
    the mean histograms of composed and of training music share with the held-out one.
    """

    name: str
    means: FloatArray
    intervals: FloatArray
    overlap: float
    control_overlap: float
    composed: Distance
    control: Distance


def compare_figures(
    sets: Sequence[Music], figures: Mapping[str, Callable[[Piece], float]] = FIGURES
) -> list[FigureRow]:
    """Compare training, held-out and composed music, in this order, figure by figure."""
    rows = []
    for name, figure in figures.items():
        values = [np.array([figure(piece) for piece in music.pieces]) for music in sets]
        means = [mean(v, music.groups) for v, music in zip(values, sets, strict=True)]
        apart = _distances([v[:, None] for v in values], sets)
        rows.append(FigureRow(name, (means[0], means[1], means[2]), *apart))
    return rows


def compare_histograms(sets: Sequence[Music]) -> list[HistogramRow]:
    """Compare training, held-out and composed music, in this order, histogram by histogram."""
    rows = []
    for name, histogram in HISTOGRAMS.items():
        values = [np.array([histogram(piece) for piece in music.pieces]) for music in sets]
        resampled = [
            resampled_ratios(v, np.ones(len(v)), music.groups, seed)
            for seed, (v, music) in enumerate(zip(values, sets, strict=True))
        ]
        real = resampled[HELD_OUT][0]
        rows.append(
            HistogramRow(
                name,
                np.stack([one[0] for one in resampled]),
                np.stack([np.quantile(one[1:], (0.025, 0.975), axis=0) for one in resampled]),
                histogram_overlap(real, resampled[COMPOSED][0]),
                histogram_overlap(real, resampled[TRAINING][0]),
                *_distances(values, sets),
            )
        )
    return rows


def _distances(values: Sequence[FloatArray], sets: Sequence[Music]) -> tuple[Distance, Distance]:
    """Return the distances of composed and of training music from held-out music."""
    real, groups = values[HELD_OUT], sets[HELD_OUT].groups
    composed, control = (distance(real, groups, values[i]) for i in (COMPOSED, TRAINING))
    return composed, control
