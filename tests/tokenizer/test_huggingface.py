"""The tokenizer folder gives `transformers` the ids that we use, without remote code."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from megatron_music.score.notes import Piece
from megatron_music.tokenizer.codec import encode, to_text
from megatron_music.tokenizer.huggingface import save_tokenizer
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary
from tests.music import BASS_LINE, pieces


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[int, PreTrainedTokenizerFast]:
    folders = {}
    for steps in (4, 12):
        folder = tmp_path_factory.mktemp(f"tokenizer{steps}")
        save_tokenizer(TokenizerSettings(steps), folder)
        folders[steps] = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return folders


@settings(deadline=None, max_examples=50)
@given(piece=pieces())
def test_both_tokenizers_give_the_same_ids(
    loaded: dict[int, PreTrainedTokenizerFast], piece: Piece
) -> None:
    vocabulary = Vocabulary(TokenizerSettings(piece.steps_per_quarter))
    tokenizer = loaded[piece.steps_per_quarter]
    tokens = encode(piece, vocabulary).tolist()
    text = to_text(encode(piece, vocabulary), vocabulary)
    assert tokenizer(text).input_ids == tokens
    assert tokenizer.decode(tokens) == text


def test_the_special_tokens_are_ours(loaded: dict[int, PreTrainedTokenizerFast]) -> None:
    v, tokenizer = Vocabulary(TokenizerSettings()), loaded[4]
    assert len(tokenizer) == len(v)
    ids = (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert ids == (v.pad, v.piece_start, v.piece_end)


def test_a_word_that_is_no_token_is_not_swallowed(
    loaded: dict[int, PreTrainedTokenizerFast],
) -> None:
    with pytest.raises(Exception, match="UNK"):
        loaded[4](BASS_LINE.replace("BASS", "BASSOON"))


def test_the_same_settings_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_tokenizer(TokenizerSettings(), tmp_path / name)
    for file in sorted((tmp_path / "a").iterdir()):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "mmmtrack.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
