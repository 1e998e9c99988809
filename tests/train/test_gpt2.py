"""A run that begins with Hugging Face's GPT-2: the same logits before the first step."""

import json
from pathlib import Path

import pytest

from megatron_music.config import Recipe, load_recipe
from megatron_music.errors import CheckpointError
from megatron_music.text.vocabularies import of_folder
from megatron_music.tokenizer.text_vocabulary import TextSettings, TextVocabulary
from megatron_music.tokenizer.vocabulary import TokenizerSettings, vocabulary_of
from tests.text.test_build_words import gpt2_tokenizer

torch = pytest.importorskip("torch")
pytest.importorskip("megatron.core")
pytest.importorskip("transformers")

from transformers import GPT2Config, GPT2LMHeadModel  # noqa: E402

from megatron_music.train import distributed  # noqa: E402
from megatron_music.train.gpt2 import check_gpt2, load_gpt2_weights  # noqa: E402
from megatron_music.train.model import build_model  # noqa: E402

SHAPE = [
    "model.num_layers=2",
    "model.hidden_size=32",
    "model.num_attention_heads=4",
    "model.seq_length=256",
    "train.precision=fp32",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 with random weights and a tokenizer of its own."""
    folder = gpt2_tokenizer(tmp_path_factory.mktemp("gpt2"))
    torch.manual_seed(1)
    config = GPT2Config(vocab_size=300, n_positions=320, n_embd=32, n_layer=2, n_head=4)
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        for parameter in model.parameters():  # else biases are 0 and norms 1, wherever they go
            parameter.add_(torch.randn_like(parameter) / 4)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def vocabulary(folder: Path) -> TextVocabulary:
    return of_folder(folder, TextSettings())


def recipe(*changes: str) -> Recipe:
    return load_recipe("gpt2-lyrics", [*SHAPE, *changes])


@pytest.mark.filterwarnings("ignore")
def test_the_logits_are_those_of_the_folder(folder: Path, vocabulary: TextVocabulary) -> None:
    check_gpt2(folder, recipe(), vocabulary)
    theirs = GPT2LMHeadModel.from_pretrained(folder).double().eval()
    tokens = torch.randint(300, (2, 100), generator=torch.Generator().manual_seed(0))
    with distributed.start(recipe(), on_cpu=True, alone=True) as engine:
        model = build_model(recipe(), vocabulary, engine)
        load_gpt2_weights(folder, model)
        model.eval().double()
        with torch.no_grad():
            ours = model(tokens, torch.arange(100).expand(2, -1), None)[..., :300]
            assert torch.allclose(ours, theirs(tokens).logits, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("model.num_layers=3", r"a GPT-2 with model.num_layers=2; give it so"),
        ("model.seq_length=512", r"model.seq_length=320 at most"),
    ],
)
def test_another_shape_is_refused(
    folder: Path, vocabulary: TextVocabulary, change: str, told: str
) -> None:
    with pytest.raises(CheckpointError, match=told):
        check_gpt2(folder, recipe(change), vocabulary)


def test_another_kind_of_gpt2_is_refused(
    folder: Path, vocabulary: TextVocabulary, tmp_path: Path
) -> None:
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "activation_function": "relu"}))
    with pytest.raises(CheckpointError, match="activation_function"):
        check_gpt2(tmp_path, recipe(), vocabulary)


def test_other_tokens_and_music_are_refused(folder: Path) -> None:
    from collections import Counter

    from megatron_music.text.vocabularies import of_characters

    with pytest.raises(CheckpointError, match="--text --like"):
        check_gpt2(folder, recipe(), of_characters(Counter("abc"), TextSettings()))
    with pytest.raises(CheckpointError, match="music begins with a run"):
        check_gpt2(folder, recipe(), vocabulary_of(TokenizerSettings()))
