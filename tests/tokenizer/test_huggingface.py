"""The tokenizer folder gives `transformers` the ids that we use, without remote code."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from megatron_music.score.notes import Piece
from megatron_music.tokenizer.codec import encode, to_text
from megatron_music.tokenizer.huggingface import (
    loads_in_megatron,
    refresh_tokenizer,
    save_tokenizer,
)
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


def test_a_word_that_is_not_a_token_becomes_pad(
    loaded: dict[int, PreTrainedTokenizerFast],
) -> None:
    wrong = BASS_LINE.replace("BASS", "BASSOON")
    ids = loaded[4](wrong).input_ids
    assert [w for w, i in zip(wrong.split(), ids, strict=True) if not i] == ["INST=BASSOON"]


def test_a_special_token_within_another_word_is_not_cut_out(tmp_path: Path) -> None:
    words = ("MOOD=PAD", "PADDED", "PIECE_START_AGAIN")
    settings = TokenizerSettings(attributes=words)
    save_tokenizer(settings, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=False)
    text = " ".join(("PIECE_START", *words, "PIECE_END"))
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert 0 not in tokenizer(text).input_ids


def test_what_comes_later_brings_the_space_before_it(
    loaded: dict[int, PreTrainedTokenizerFast],
) -> None:
    ids = loaded[4](f"{BASS_LINE} {BASS_LINE}").input_ids  # two pieces in one window
    for cut in range(len(ids)):
        parts = (loaded[4].decode(ids[:cut]), loaded[4].decode(ids[cut:]))
        assert "".join(parts).strip() == f"{BASS_LINE} {BASS_LINE}" or ids[cut] == 1


def test_megatrons_own_class_gives_the_same_ids(tmp_path: Path) -> None:
    library = pytest.importorskip("megatron.core.tokenizers.text.libraries.huggingface_tokenizer")
    vocabulary = Vocabulary(TokenizerSettings())
    save_tokenizer(vocabulary.settings, tmp_path)
    tokenizer = library.HuggingFaceTokenizer(str(tmp_path))
    assert tokenizer.vocab_size == len(vocabulary)
    assert (tokenizer.eod, tokenizer.pad_id) == (vocabulary.piece_end, vocabulary.pad)
    ids = [vocabulary.ids[word] for word in BASS_LINE.split()]
    assert tokenizer.text_to_ids(BASS_LINE) == ids
    assert loads_in_megatron(tmp_path)


def test_a_folder_of_an_earlier_version_is_refreshed_and_one_of_today_is_left(
    tmp_path: Path,
) -> None:
    save_tokenizer(TokenizerSettings(), tmp_path, positions=640)
    assert not refresh_tokenizer(TokenizerSettings(), tmp_path, positions=640)
    config = tmp_path / "tokenizer_config.json"
    config.write_text(config.read_text().replace("left", "right"))
    assert refresh_tokenizer(TokenizerSettings(), tmp_path, positions=640)
    loaded = AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=False)
    assert (loaded.padding_side, loaded.model_max_length) == ("left", 640)


@pytest.mark.parametrize("text", ["", "[]", '{"model": {"type": "WordLevel"}}', "[" * 99_999])
def test_a_damaged_tokenizer_does_not_load_in_megatron(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    assert not loads_in_megatron(tmp_path)


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
