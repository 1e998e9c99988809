"""The map of embeddings shows what was put into them."""

from pathlib import Path

import numpy as np
import pytest

from megatron_music.evaluate.embedding import (
    EmbeddingMap,
    by_fifths,
    by_interval,
    cosines,
    instrument_map,
    note_map,
    token_counts,
)
from megatron_music.generate.composer import Composer
from megatron_music.tokenizer.vocabulary import TokenizerSettings
from tests.generate.conftest import CHORALE, untrained

PITCHES = np.arange(40, 80)


def mapped(vectors: np.ndarray) -> EmbeddingMap:
    return EmbeddingMap(PITCHES, cosines(vectors), np.zeros((0, 2)))


def circle(angles: np.ndarray) -> np.ndarray:
    return np.stack((np.cos(angles), np.sin(angles)), axis=1)


def test_cosines_forget_what_all_vectors_share() -> None:
    shared = np.array([100.0, 0.0, 0.0])
    vectors = shared + np.array([[0, 1, 0], [0, -1, 0], [0, 0, 2], [0, 0, -2.0]])
    expected = [[1, -1, 0, 0], [-1, 1, 0, 0], [0, 0, 1, -1], [0, 0, -1, 1]]
    assert cosines(vectors) == pytest.approx(np.array(expected), abs=1e-9)


def test_notes_laid_out_by_octaves_show_a_peak_at_twelve() -> None:
    means = by_interval(mapped(circle(2 * np.pi * PITCHES / 12)))
    assert means[12] > 0.99
    assert means[24] > 0.99
    assert means[6] < -0.9


def test_notes_laid_out_on_the_circle_of_fifths_fall_off_along_it() -> None:
    means = by_fifths(mapped(circle(2 * np.pi * (PITCHES * 7 % 12) / 12)))
    assert means == pytest.approx(np.cos(np.pi * np.arange(7) / 6), abs=0.1)
    chromatic = by_fifths(mapped(circle(2 * np.pi * PITCHES / 12)))
    assert chromatic[1] < 0


def test_an_interval_that_does_not_occur_has_no_mean() -> None:
    two = EmbeddingMap(np.array([60, 64]), cosines(np.eye(2)), np.zeros((0, 2)))
    means = by_interval(two)
    assert np.flatnonzero(~np.isnan(means)).tolist() == [0, 4]


def test_tokens_are_counted_and_rare_ones_left_out_of_the_map(tmp_path: Path) -> None:
    settings = TokenizerSettings(bars=4, ensemble=CHORALE)
    composer = Composer.load(untrained(tmp_path / "hf", settings))
    v = composer.vocabulary
    heard = [v.note_on + 60] * 100 + [v.note_on + 62] * 99 + [v.inst + 129] * 100
    heard += [v.note_on + pitch for pitch in range(64, 72)] * 100
    half = len(heard) // 2
    counts = token_counts([np.array(heard[:half], np.uint16), np.array(heard[half:], np.uint16)], v)
    assert counts[v.note_on + 62] == 99
    notes = note_map(composer.model, v, counts)
    assert notes.codes.tolist() == [60, *range(64, 72)]
    assert notes.plane.shape == (9, 2)
    weights = composer.model.transformer.wte.weight.detach()
    chosen = weights[[v.note_on + code for code in notes.codes.tolist()]]
    assert notes.cosines == pytest.approx(cosines(chosen.double().numpy()))
    voices = instrument_map(composer.model, v, counts)
    assert voices.codes.tolist() == [129]
    assert voices.plane.shape == (0, 2)
