"""Readings of held-out windows summed up."""

import numpy as np
import pytest

from megatron_music.evaluate.heldout import WindowLosses, cells_in, summarize
from megatron_music.score.instruments import BASS, SOPRANO
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.codec import encode
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary
from tests.music import track

CHOIR = Vocabulary(TokenizerSettings(ensemble=("SOPRANO", "BASS")))


def reading(piece: Piece, vocabulary: Vocabulary, nats: float, left_out: int = 0) -> WindowLosses:
    """Return what a model thinks to which every token costs the same."""
    targets = encode(piece, vocabulary)[1:]
    none = np.zeros(len(targets))
    return WindowLosses(targets, none + nats, none + 0.5, none > 0, left_out)


def two(bars: int, steps: int = 4) -> Piece:
    upper, lower = track(SOPRANO, (0, 4, 72)), track(BASS, (0, 4, 48))
    return Piece(steps, bars, (upper, lower))


def test_a_cell_is_a_voice_in_a_sixteenth_sounding_or_not() -> None:
    alone = Piece(4, 2, two(2).tracks[:1])
    readings = [reading(piece, CHOIR, 1) for piece in (two(2), two(3), alone)]
    assert cells_in(readings, CHOIR).tolist() == [64, 96, 64]
    fine = Vocabulary(TokenizerSettings(12, ensemble=("SOPRANO", "BASS")))
    assert cells_in([reading(two(2, 12), fine, 1)], fine).tolist() == [64]


def test_nats_a_cell_are_those_of_all_tokens_over_all_cells() -> None:
    readings = [reading(two(2), CHOIR, 0.5), reading(two(3), CHOIR, 2.0)]
    tokens = [len(one.targets) for one in readings]
    found = summarize(readings, np.arange(2), CHOIR)
    assert found.per_cell is not None
    assert found.per_cell_masked is not None
    nats = 0.5 * tokens[0] + 2.0 * tokens[1]
    assert found.per_cell.value == pytest.approx(nats / (64 + 96))
    # Half of the probability is illegal everywhere: the mask doubles that of what stands there.
    assert found.per_cell_masked.value == pytest.approx((nats - sum(tokens) * np.log(2)) / 160)


def test_windows_that_were_cut_count_no_cells() -> None:
    readings = [reading(two(2), CHOIR, 0.5), reading(two(2), CHOIR, 2.0, left_out=3)]
    found = summarize(readings, np.arange(2), CHOIR)
    assert found.per_cell is not None
    assert found.per_cell.value == pytest.approx(0.5 * len(readings[0].targets) / 64)


def test_music_without_voices_has_no_cells() -> None:
    plain = Vocabulary(TokenizerSettings())
    found = summarize([reading(two(2), plain, 1)], np.arange(1), plain)
    assert (found.per_cell, found.per_cell_masked) == (None, None)
