"""Confidence intervals of figures, by resampling whole pieces.

Windows of one piece are similar, and overlap where the data set's hop is shorter than its window.
Drawing windows one by one would count each piece several times and make the intervals too narrow;
here pieces are drawn, with all their windows (Davison and Hinkley 1997, section 3.8).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

RESAMPLES = 2_000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure and the ends of its 95 % confidence interval."""

    value: float
    low: float
    high: float


def resampled_ratios(
    numerators: FloatArray, denominators: FloatArray, groups: npt.NDArray[np.int64], seed: int = 0
) -> FloatArray:
    """Return sums of `numerators` over sums of `denominators` in resamples of the groups.

    Shapes: numerators [n, d], denominators [n], groups [n] (what each row belongs to); the result
    is [RESAMPLES + 1, d], the figures of the data themselves first.
    """
    names, group = np.unique(groups, return_inverse=True)
    tops = np.zeros((len(names), numerators.shape[1]))
    np.add.at(tops, group, numerators)
    bottoms = np.bincount(group, denominators, len(names))
    stream = np.random.default_rng(seed)
    drawn = stream.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    times = np.concatenate((np.ones((1, len(names)), np.int64), drawn)).astype(np.float64)
    # A resample may hold no piece that has any.
    ratios: FloatArray = (times @ tops) / np.maximum(times @ bottoms, 1e-12)[:, None]
    return ratios


def ratio(
    numerators: FloatArray, denominators: FloatArray, groups: npt.NDArray[np.int64]
) -> Estimate:
    """Estimate a ratio of sums, such as nats a token; all [n]."""
    return interval(resampled_ratios(numerators[:, None], denominators, groups)[:, 0])


def mean(values: FloatArray, groups: npt.NDArray[np.int64]) -> Estimate:
    """Estimate the mean of `values` [n] whose rows belong to `groups` [n]."""
    return ratio(values, np.ones(len(values)), groups)


def interval(figures: FloatArray) -> Estimate:
    """Return the estimate from figures [1 + resamples], of which the first is of the data."""
    low, high = np.quantile(figures[1:], ((1 - LEVEL) / 2, (1 + LEVEL) / 2)).tolist()
    return Estimate(float(figures[0]), low, high)


def share(successes: int, count: int) -> Estimate:
    """Estimate a share of independent trials, with Wilson's interval."""
    if not count:
        return Estimate(0.0, 0.0, 1.0)
    from scipy.stats import binomtest

    ends = binomtest(successes, count).proportion_ci(LEVEL, "wilson")
    return Estimate(successes / count, float(ends.low), float(ends.high))
