"""Compare three sets of music: training music, held-out music and composed music."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from megatron_music.evaluate.bootstrap import Estimate, FloatArray, mean, resampled_ratios
from megatron_music.evaluate.measures import FIGURES, HISTOGRAMS
from megatron_music.score.instruments import DRUMS
from megatron_music.score.notes import IntArray, Piece

SETS = ("training", "held-out", "composed")
TRAINING, HELD_OUT, COMPOSED = range(3)
GRID_POINTS = 400
BINS = 800
_SMALLEST = 1e-12

_NARROWEST = 1e-3
"""The least width of a kernel, as a share of the largest distance: all may be the same."""


@dataclass(frozen=True)
class WindowSet:
    """Windows and the number of the piece that each is cut from."""

    pieces: Sequence[Piece]
    groups: IntArray


@dataclass(frozen=True)
class Distance:
    """The overlap area (0..1) and the divergence in nats of two densities of distances."""

    overlap: float
    divergence: float


@dataclass(frozen=True)
class FigureRow:
    """A figure's means in SETS, and how far composed and training music are from held-out music.

    The latter is the `control`: what two sets of real music differ by.
    """

    means: tuple[Estimate, ...]
    composed: Distance
    control: Distance


@dataclass(frozen=True)
class HistogramRow:
    """A histogram in the three sets; `composed` and `control` as in `FigureRow`.

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
    sets: Sequence[WindowSet], figures: Mapping[str, Callable[[Piece], float]] = FIGURES
) -> dict[str, FigureRow]:
    """Compare training, held-out and composed music, in this order, figure by figure."""
    rows: dict[str, FigureRow] = {}
    for name, figure in figures.items():
        values = [np.array([figure(piece) for piece in music.pieces]) for music in sets]
        means = tuple(mean(v, music.groups) for v, music in zip(values, sets, strict=True))
        rows[name] = FigureRow(means, *_distances([v[:, None] for v in values], sets))
    return rows


def compare_histograms(sets: Sequence[WindowSet]) -> list[HistogramRow]:
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


def _distances(
    values: Sequence[FloatArray], sets: Sequence[WindowSet]
) -> tuple[Distance, Distance]:
    """Return the distances of composed and of training music from held-out music."""
    real, groups = values[HELD_OUT], sets[HELD_OUT].groups
    composed, control = (distance(real, groups, values[i]) for i in (COMPOSED, TRAINING))
    return composed, control


def distance(real: FloatArray, groups: npt.NDArray[np.int64], other: FloatArray) -> Distance:
    """Compare the distances from `other` to `real` with those within `real`.

    `real` is [n, d], `other` [m, d], d = 1 for a figure; `groups` [n] says which piece each row of
    `real` comes from: windows of one piece are not compared, since they are similar.
    """
    # Greater, not unequal: each pair counts once.
    apart = groups[:, None] > groups[None, :]
    within = _pairwise(real, real)[apart]
    between = _pairwise(real, other).ravel()
    if not len(within) or not len(between):
        return Distance(0.0, float("inf"))
    largest = max(float(within.max()), float(between.max()), _SMALLEST)
    # Scott's rule in one dimension: the standard deviation times n^(-1/5).
    widths = [
        max(float(values.std() * len(values) ** (-1 / 5)), _NARROWEST * largest)
        for values in (within, between)
    ]
    grid = np.linspace(0, largest + 3 * max(widths), GRID_POINTS)
    densities = [_density(grid, *one) for one in zip((within, between), widths, strict=True)]
    # The floor keeps the logarithm finite; the sums restore areas of 1 after it and the cut at the
    # ends.
    step = grid[1] - grid[0]
    p, q = (np.maximum(density, _SMALLEST) for density in densities)
    p, q = p / (p.sum() * step), q / (q.sum() * step)
    divergence = float((p * np.log(p / q)).sum() * step)
    return Distance(float(np.minimum(p, q).sum() * step), max(0.0, divergence))


def histogram_overlap(first: FloatArray, second: FloatArray) -> float:
    """Return what two histograms of shares have in common: 1 where equal, 0 where disjoint."""
    return float(np.minimum(first, second).sum())


def _pairwise(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the Euclidean distances [n, m]."""
    lengths: FloatArray = np.linalg.norm(first[:, None, :] - second[None, :, :], axis=-1)
    return lengths


def _density(grid: FloatArray, values: FloatArray, width: float) -> FloatArray:
    """Return the density of `values` by Gaussian kernels, mirrored at 0: no distance is less."""
    # A kernel for each bin: one for each of millions of distances would not fit into memory.
    counts, edges = np.histogram(values, bins=BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    mirrored = (grid[:, None] - centres, grid[:, None] + centres)
    kernels = sum(np.exp(-0.5 * (apart / width) ** 2) for apart in mirrored)
    density: FloatArray = kernels @ counts / (len(values) * width * np.sqrt(2 * np.pi))
    return density


def notes_across_barlines(piece: Piece) -> FloatArray:
    """Return the share of pitched tracks in which a note sounds across each barline, [bars - 1]."""
    barlines = piece.bar_starts[1:-1]
    crossed = [
        ((track.onset < barlines[:, None]) & (track.end > barlines[:, None])).any(1)
        for track in piece.tracks
        if track.instrument != DRUMS
    ]
    return np.mean(crossed, axis=0) if crossed else np.zeros(len(barlines))


@dataclass(frozen=True)
class Seams:
    """The share of pitched tracks in which a note sounds across a barline of some long `songs`.

    `at` is that where the first window ends, `elsewhere` the mean of all others, `by_barline` each
    of them in order, and `real` is that of held-out windows.
    """

    songs: int
    at: Estimate
    elsewhere: Estimate
    by_barline: list[float]
    real: Estimate


def seams(
    songs: Sequence[Piece], window_bars: int, real: Sequence[Piece], groups: IntArray
) -> Seams:
    """Compare the barline after the first window of long songs with the other barlines.

    `real` are held-out windows, of the pieces `groups`.
    """
    rows = np.array([notes_across_barlines(song) for song in songs])
    at = window_bars - 1
    others = np.delete(rows, at, axis=1).mean(1)
    numbers = np.arange(len(songs), dtype=np.int64)
    within = np.array(
        [notes_across_barlines(piece).mean() if piece.bars > 1 else 0.0 for piece in real]
    )
    return Seams(
        songs=len(songs),
        at=mean(rows[:, at], numbers),
        elsewhere=mean(others, numbers),
        by_barline=rows.mean(0).round(4).tolist(),
        real=mean(within, groups),
    )
