"""The cost of held-out music token by token and summed up, and the grammar's share of it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from megatron_music.evaluate.heldout import (
    BROKEN,
    UNFINISHED,
    WHOLE,
    WindowLosses,
    cells_in,
    check_sample,
    kinds_of,
    read,
    sample_unconstrained,
    summarize,
)
from megatron_music.generate.composer import Composer
from megatron_music.generate.structural import model_inputs
from megatron_music.score.instruments import BASS, SOPRANO
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.codec import encode, from_text
from megatron_music.tokenizer.grammar import legal_masks
from megatron_music.tokenizer.structure import INPUTS
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary
from tests.generate.conftest import CHORALE, untrained
from tests.music import BASS_LINE, bass_line, track

PLAIN = Vocabulary(TokenizerSettings(density=False))
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


@pytest.fixture(scope="module")
def composer(tmp_path_factory: pytest.TempPathFactory) -> Composer:
    """An untrained model."""
    settings = TokenizerSettings(bars=4, ensemble=CHORALE)
    return Composer.load(untrained(tmp_path_factory.mktemp("evaluated"), settings))


def four_bars() -> Piece:
    piece = bass_line()
    return Piece(4, 4, piece.tracks)


def test_the_nats_are_those_that_hugging_face_reports(composer: Composer) -> None:
    tokens = encode(four_bars(), composer.vocabulary)
    ids = torch.from_numpy(tokens.astype(np.int64))[None]
    with torch.inference_mode():
        expected = float(composer.model(ids, labels=ids).loss)
    (reading,) = read(composer.model, composer.vocabulary, [tokens])
    assert len(reading.nats) == len(tokens) - 1
    assert reading.nats.mean() == pytest.approx(expected, rel=1e-5)


def test_a_model_with_structural_inputs_is_given_them(tmp_path: Path) -> None:
    settings = TokenizerSettings(bars=4, ensemble=CHORALE)
    told = Composer.load(untrained(tmp_path, settings, inputs=INPUTS))
    tokens = encode(four_bars(), told.vocabulary)
    ids = torch.from_numpy(tokens.astype(np.int64))[None]
    place = np.array([[4, 9]], np.int32)
    for places in (place, None):
        with torch.inference_mode():
            arguments = model_inputs(told.model, told.vocabulary, ids, places)
            expected = float(told.model(**arguments, labels=ids).loss)
        (reading,) = read(told.model, told.vocabulary, [tokens], places)
        assert reading.nats.mean() == pytest.approx(expected, rel=1e-5)
        assert reading.left_out == 0
    (known,) = read(told.model, told.vocabulary, [tokens], place)
    assert not np.allclose(known.nats, reading.nats)
    long = encode(Piece(4, 4, bass_line().tracks * 7), told.vocabulary)
    (reading,) = read(told.model, told.vocabulary, [long])
    assert len(reading.nats) == 160  # tokens, not rows
    assert reading.left_out == len(long) - 161 > 0
    samples = sample_unconstrained(told, 20, seed=1)
    assert [sample.outcome for sample in samples] == [BROKEN] * 20


def test_legal_and_illegal_probability_add_up(composer: Composer) -> None:
    tokens = encode(four_bars(), composer.vocabulary)
    (reading,) = read(composer.model, composer.vocabulary, [tokens])
    ids = torch.from_numpy(tokens.astype(np.int64))[None]
    with torch.inference_mode():
        probabilities = composer.model(ids).logits[0, :-1].softmax(-1).numpy()
    masks = legal_masks(tokens, composer.vocabulary)
    assert reading.illegal == pytest.approx(1 - (probabilities * masks).sum(-1), abs=1e-5)
    illegal_tops = ~masks[np.arange(len(masks)), probabilities.argmax(-1)]
    assert (reading.tops_illegal == illegal_tops).all()


def test_tokens_have_kinds() -> None:
    tokens = from_text("PIECE_START INST=BASS NOTE_ON=60 TIME_DELTA=4 NOTE_OFF=60", PLAIN)
    assert kinds_of(tokens, PLAIN) == ["mark", "INST", "NOTE_ON", "TIME_DELTA", "NOTE_OFF"]


def test_a_free_sample_is_judged_up_to_its_first_illegal_token() -> None:
    whole = from_text(BASS_LINE, PLAIN).tolist()
    assert check_sample([*whole, PLAIN.pad], PLAIN).outcome == WHOLE
    assert check_sample(whole[:-1], PLAIN).outcome == UNFINISHED
    broken = check_sample([*whole[:5], PLAIN.track_end, *whole[5:]], PLAIN)
    assert (broken.outcome, broken.legal_tokens) == (BROKEN, 5)
    assert "TRACK_END" in broken.reason


def test_untrained_weights_do_not_get_far_without_the_mask(composer: Composer) -> None:
    samples = sample_unconstrained(composer, 20, seed=1)
    assert [s.outcome for s in samples] == [BROKEN] * 20
    assert max(s.legal_tokens for s in samples) < 10
    again = sample_unconstrained(composer, 20, seed=1)
    assert again == samples
