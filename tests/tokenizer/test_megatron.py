"""The plugin: the object that Megatron's datasets take as their tokenizer."""

import json

import pytest

from megatron_music.errors import TokenError
from megatron_music.tokenizer.megatron import MmmtrackTokenizer
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary

BASS = "PIECE_START TRACK_START INST=BASS BAR_START NOTE_ON=61 TIME_DELTA=4 NOTE_OFF=61 BAR_END"


@pytest.fixture(scope="module")
def tokenizer() -> MmmtrackTokenizer:
    return MmmtrackTokenizer(Vocabulary(TokenizerSettings()))


def test_ids_are_the_vocabularys_and_come_back_as_text(tokenizer: MmmtrackTokenizer) -> None:
    ids = tokenizer.tokenize(BASS)
    assert ids == [tokenizer.vocabulary.ids[token] for token in BASS.split()]
    assert tokenizer.detokenize(ids) == BASS


def test_end_of_document_is_piece_end_and_differs_from_padding(
    tokenizer: MmmtrackTokenizer,
) -> None:
    assert tokenizer.vocab["PIECE_END"] == tokenizer.eod
    assert tokenizer.vocab["PAD"] == tokenizer.pad
    assert tokenizer.eod != tokenizer.pad


def test_size_is_not_padded(tokenizer: MmmtrackTokenizer) -> None:
    assert tokenizer.vocab_size == len(tokenizer.vocab) == len(tokenizer.vocabulary)


def test_another_vocabulary_never_shares_the_index_cache(tokenizer: MmmtrackTokenizer) -> None:
    other = MmmtrackTokenizer(Vocabulary(TokenizerSettings(steps_per_quarter=12)))
    assert json.dumps(tokenizer.unique_identifiers) != json.dumps(other.unique_identifiers)


def test_an_unknown_token_or_id_is_answered_with_its_position(
    tokenizer: MmmtrackTokenizer,
) -> None:
    with pytest.raises(TokenError, match="token 1: no token 'NOTE_ON=128'"):
        tokenizer.tokenize("BAR_START NOTE_ON=128")
    with pytest.raises(TokenError, match="token 0: no id 60000"):
        tokenizer.detokenize([60000])
