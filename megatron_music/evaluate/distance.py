"""How far two sets of pieces lie apart in one measure.

After Yang and Lerch, "On the evaluation of generative models in music", Neural Computing and
Applications 2020: the distances between the sets are held against the distances within the set of
real music. Both become densities by Gaussian kernels; their Kullback-Leibler divergence and the
area they overlap in say how far the sets are apart: 0 and 1 where they are the same.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

GRID_POINTS = 400
BINS = 800
_SMALLEST = 1e-12
_NARROWEST = 1e-3
"""Of the largest distance: where all distances agree, a kernel still needs a width."""


@dataclass(frozen=True)
class Distance:
    """The overlap area (0..1) and the divergence in nats of two densities of distances."""

    overlap: float
    divergence: float


def distance(real: FloatArray, groups: npt.NDArray[np.int64], other: FloatArray) -> Distance:
    """Hold the distances from `other` to `real` against those within `real`.

    `real` is [n, d], `other` [m, d], d = 1 for a figure; `groups` [n] says which piece each row of
    `real` comes from: two windows of one piece are no measure of how far real pieces differ.
    """
    apart = groups[:, None] > groups[None, :]
    within = _distances(real, real)[apart]
    between = _distances(real, other).ravel()
    if not len(within) or not len(between):
        return Distance(0.0, float("inf"))
    return _compare(within, between)


def histogram_overlap(first: FloatArray, second: FloatArray) -> float:
    """Return what two histograms of shares have in common: 1 where equal, 0 where disjoint."""
    return float(np.minimum(first, second).sum())


def _distances(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the Euclidean distances [n, m]."""
    lengths: FloatArray = np.linalg.norm(first[:, None, :] - second[None, :, :], axis=-1)
    return lengths


def _compare(within: FloatArray, between: FloatArray) -> Distance:
    largest = max(float(within.max()), float(between.max()), _SMALLEST)
    widths = [max(_scott(values), _NARROWEST * largest) for values in (within, between)]
    grid = np.linspace(0, largest + 3 * max(widths), GRID_POINTS)
    densities = [_density(grid, *one) for one in zip((within, between), widths, strict=True)]
    step = grid[1] - grid[0]
    p, q = (np.maximum(density, _SMALLEST) for density in densities)
    p, q = p / (p.sum() * step), q / (q.sum() * step)
    divergence = float((p * np.log(p / q)).sum() * step)
    return Distance(float(np.minimum(p, q).sum() * step), max(0.0, divergence))


def _scott(values: FloatArray) -> float:
    """Return Scott's bandwidth of a density in one dimension."""
    return float(values.std() * len(values) ** (-1 / 5))


def _density(grid: FloatArray, values: FloatArray, width: float) -> FloatArray:
    """Return the density of `values` by Gaussian kernels, mirrored at 0: no distance is less."""
    counts, edges = np.histogram(values, bins=BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    mirrored = (grid[:, None] - centres, grid[:, None] + centres)
    kernels = sum(np.exp(-0.5 * (apart / width) ** 2) for apart in mirrored)
    density: FloatArray = kernels @ counts / (len(values) * width * np.sqrt(2 * np.pi))
    return density
