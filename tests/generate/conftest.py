"""Models that have learned nothing: what the grammar alone must make valid."""

from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from megatron_music.tokenizer.huggingface import save_tokenizer
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary

# Models this small are slower on two threads than on one.
torch.set_num_threads(1)

CHORALE = ("SOPRANO", "ALTO", "TENOR", "BASS")


def untrained(folder: Path, settings: TokenizerSettings, n_positions: int = 160) -> Path:
    """Write an exported folder of random weights."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(Vocabulary(settings)),
        n_positions=n_positions,
        n_embd=32,
        n_layer=1,
        n_head=2,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    save_tokenizer(settings, folder)
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
