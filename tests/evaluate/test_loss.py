"""The cost of music read token by token, and the grammar's share of it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from megatron_music.evaluate.heldout import (
    BROKEN,
    UNFINISHED,
    WHOLE,
    check_sample,
    kinds_of,
    read,
    sample_unconstrained,
)
from megatron_music.generate.composer import Composer
from megatron_music.generate.structural import model_inputs
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.codec import encode, from_text
from megatron_music.tokenizer.grammar import legal_masks
from megatron_music.tokenizer.structure import INPUTS
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary
from tests.generate.conftest import CHORALE, untrained
from tests.music import BASS_LINE, bass_line

PLAIN = Vocabulary(TokenizerSettings(density=False))


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
