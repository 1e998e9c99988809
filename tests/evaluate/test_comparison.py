"""Sets that are the same overlap, sets that differ do not; notes across barlines."""

import numpy as np
import pytest

from megatron_music.evaluate.comparison import (
    distance,
    histogram_overlap,
    notes_across_barlines,
    seams,
)
from megatron_music.score.instruments import DRUMS
from megatron_music.score.notes import Piece
from tests.music import track


def normal(mean: float, count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1, (count, 1))


def test_the_further_the_other_set_the_less_they_overlap() -> None:
    real, groups = normal(0, 100, 1), np.arange(100)
    steps = [distance(real, groups, normal(mean, 100, 2)) for mean in (0, 1, 3, 10)]
    assert [one.overlap for one in steps] == sorted((s.overlap for s in steps), reverse=True)
    assert [one.divergence for one in steps] == sorted(s.divergence for s in steps)
    assert steps[-1].overlap < 0.01


def test_two_normal_sets_overlap_as_the_theory_of_their_differences_says() -> None:
    # |x - y| within: folded normal of spread sqrt 2; between sets 3 apart: folded around 3.
    grid = np.linspace(0, 12, 4001)

    def folded(mean: float) -> np.ndarray:
        return (np.exp(-((grid - mean) ** 2) / 4) + np.exp(-((grid + mean) ** 2) / 4)) / np.sqrt(
            4 * np.pi
        )

    expected = np.minimum(folded(0), folded(3)).sum() * (grid[1] - grid[0])
    overlaps = [
        distance(normal(0, 300, seed), np.arange(300), normal(3, 300, seed + 9)).overlap
        for seed in range(6)
    ]
    assert np.mean(overlaps) == pytest.approx(expected, abs=0.03)


def test_distances_within_a_piece_do_not_count() -> None:
    # Twenty pieces of ten equal windows each, and windows of other pieces from the same source.
    real, other = np.repeat(normal(0, 20, 1), 10)[:, None], normal(0, 200, 2)
    by_piece = distance(real, np.repeat(np.arange(20), 10), other)
    by_window = distance(real, np.arange(200), other)
    assert by_piece.divergence < by_window.divergence


def test_a_constant_measure_is_accepted() -> None:
    same = distance(np.ones((4, 1)), np.arange(4), np.ones((3, 1)))
    assert same.overlap == pytest.approx(1, abs=1e-6)
    other = distance(np.ones((4, 1)), np.arange(4), np.full((3, 1), 2.0))
    assert other.overlap < 1e-6


def test_histograms_share_the_smaller_of_each_place() -> None:
    second = np.array([0.25, 0.25, 0.5])
    assert histogram_overlap(np.array([0.5, 0.5, 0.0]), second) == 0.5
    assert histogram_overlap(np.array([1.0, 0.0, 0.0]), second) == 0.25


def piece(*ties: int, bars: int = 4) -> Piece:
    """Return a piece with a note across the barlines after these bars, and drums across all."""
    notes = [(16 * bar - 4, 16 * bar + 4, 60) for bar in ties] + [(0, 4, 72)]
    return Piece(4, bars, (track(0, *sorted(notes)), track(DRUMS, (0, 16 * bars, 36))))


def test_a_note_that_ends_on_a_barline_does_not_cross_it() -> None:
    assert notes_across_barlines(piece(1, 3)).tolist() == [1, 0, 1]
    ended = Piece(4, 2, (track(0, (0, 16, 60)), track(1, (8, 24, 60))))
    assert notes_across_barlines(ended).tolist() == [0.5]


def test_notes_across_the_seam_are_counted_apart() -> None:
    songs = [piece(1, 3), piece(1), piece(1, 3), piece(3)]
    found = seams(songs, 2, [piece(2), piece(bars=1)], np.array([0, 1]))
    assert found.at.value == 0
    assert found.elsewhere.value == pytest.approx(0.75)
    assert found.by_barline == [0.75, 0, 0.75]
    assert found.real.value == pytest.approx(1 / 6)
