"""Models that have learned nothing: what the grammar alone must make valid."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from megatron_music.tokenizer.huggingface import save_tokenizer
from megatron_music.tokenizer.structure import INPUTS, position_rows
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary

# Models this small are slower on two threads than on one.
torch.set_num_threads(1)

CHORALE = ("SOPRANO", "ALTO", "TENOR", "BASS")


def untrained(
    folder: Path,
    settings: TokenizerSettings,
    seq_length: int = 160,
    inputs: Sequence[str] = (),
    **shape: float,
) -> Path:
    """Write an exported folder of random weights, with these structural inputs."""
    torch.manual_seed(0)
    vocabulary = Vocabulary(settings)
    structure = {"structural_inputs": list(inputs), "seq_length": seq_length} if inputs else {}
    config = GPT2Config(
        vocab_size=len(vocabulary),
        n_positions=position_rows(inputs, seq_length, vocabulary).total,
        n_embd=32,
        n_layer=1,
        n_head=2,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        **structure,
        **shape,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    save_tokenizer(settings, folder, seq_length)
    return folder


@pytest.fixture(scope="session")
def chorale_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of four-bar chorales."""
    settings = TokenizerSettings(bars=4, ensemble=CHORALE)
    return untrained(tmp_path_factory.mktemp("chorale"), settings)


@pytest.fixture(scope="session")
def open_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of any instruments, on the fine grid."""
    return untrained(tmp_path_factory.mktemp("open"), TokenizerSettings(12, density=False))


@pytest.fixture(scope="session")
def hearing_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of four-bar chorales with all structural inputs, which matter to it."""
    settings = TokenizerSettings(bars=4, ensemble=CHORALE)
    folder = tmp_path_factory.mktemp("hearing")
    return untrained(folder, settings, inputs=INPUTS, initializer_range=0.3)


@pytest.fixture(scope="session")
def hearing_fill_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model with all structural inputs that fills hidden bars of any instruments."""
    settings = TokenizerSettings(bars=4, density=False, fill=True)
    folder = tmp_path_factory.mktemp("hearing-fill")
    return untrained(folder, settings, inputs=INPUTS, initializer_range=0.3)
