"""Intervals are right about what they claim, and count pieces, not windows."""

import numpy as np
import pytest

from megatron_music.evaluate.bootstrap import mean, ratio, resampled_ratios, share


def test_a_ratio_is_of_sums_not_a_mean_of_ratios() -> None:
    nats, tokens = np.array([10.0, 2.0]), np.array([20.0, 1.0])
    assert ratio(nats, tokens, np.arange(2)).value == pytest.approx(12 / 21)


def test_a_constant_has_no_uncertainty() -> None:
    estimate = mean(np.full(9, 3.0), np.arange(9) // 3)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((3, 3, 3))


def test_repeating_each_window_of_a_piece_makes_nothing_surer() -> None:
    values = np.random.default_rng(1).normal(size=12)
    once = mean(values, np.arange(12))
    often = mean(np.repeat(values, 10), np.repeat(np.arange(12), 10))
    assert (often.value, often.low, often.high) == pytest.approx((once.value, once.low, once.high))


def test_the_interval_of_a_mean_covers_the_truth_about_as_often_as_it_says() -> None:
    stream = np.random.default_rng(2)
    estimates = [mean(stream.normal(size=30), np.arange(30)) for _ in range(100)]
    covered = np.mean([one.low <= 0 <= one.high for one in estimates])
    assert 0.87 <= covered <= 0.99


def test_the_first_row_is_the_data_themselves() -> None:
    histograms = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    means = resampled_ratios(histograms, np.ones(3), np.arange(3))
    assert means[0] == pytest.approx([1 / 3, 2 / 3])
    assert means.sum(1) == pytest.approx(np.ones(len(means)))


def test_wilsons_interval_of_a_share() -> None:
    estimate = share(8, 10)  # 0.49016, 0.94332: Newcombe 1998, method 3
    assert (estimate.low, estimate.high) == pytest.approx((0.49016, 0.94332), abs=1e-4)
    assert share(64, 64).low == pytest.approx(0.9434, abs=1e-4)
    assert share(0, 0).high == 1
