"""Write the Hugging Face model, read it back, and hold its logits against Megatron's."""

from dataclasses import dataclass
from pathlib import Path

import torch
from megatron.core.models.gpt import GPTModel
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging as transformers_logging

from megatron_music.config import ModelConfig, ParallelConfig, Recipe
from megatron_music.export.checkpoints import Source
from megatron_music.export.trained import is_trainers
from megatron_music.export.weights import convert_weights
from megatron_music.tokenizer.vocabulary import Vocabulary
from megatron_music.train import engine as engines
from megatron_music.train.checkpoint import load_model
from megatron_music.train.hyperparameters import LAYERNORM_EPSILON
from megatron_music.train.model import build_model

SEQUENCES = 2
SEED = 0


@dataclass(frozen=True)
class Parity:
    """How far two models' logits lie apart, in fp32 and, free of its rounding, in fp64."""

    largest_difference: float
    largest_difference_fp64: float
    largest_logit: float

    @property
    def relative_difference(self) -> float:
        """Return the difference in units of the largest logit, or of 1 where that is larger."""
        return self.largest_difference / max(1.0, self.largest_logit)


def write_model(source: Source, folder: Path) -> Parity:
    """Write `config.json` and `model.safetensors` in fp32 and compare what they give back.

    Loads the checkpoint in one CPU process, whatever layout saved it; one of Hugging Face's Trainer
    is copied without what pads its vocabulary. Raises CheckpointError.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    if is_trainers(source.step):
        model = GPT2LMHeadModel.from_pretrained(source.step)
        model.resize_token_embeddings(len(source.vocabulary))
        model.save_pretrained(folder)
        return Parity(0.0, 0.0, 0.0)
    recipe = in_one_process(source.recipe)
    with engines.start(recipe, on_cpu=True) as engine:
        model = build_model(recipe, len(source.vocabulary), engine)
        load_model(source.step, model)
        weights = convert_weights(model.state_dict(), recipe.model, len(source.vocabulary))
        exported = GPT2LMHeadModel(gpt2_config(recipe.model, source.vocabulary))
        exported.load_state_dict(weights)
        exported.save_pretrained(folder)
        return _compare(model, GPT2LMHeadModel.from_pretrained(folder), recipe.model)


def in_one_process(recipe: Recipe) -> Recipe:
    """Return the recipe for one process in fp32."""
    changes = {"precision": "fp32", "recompute": "none", "transformer_impl": "local"}
    train = recipe.train.model_copy(update=changes)
    return recipe.model_copy(update={"parallel": ParallelConfig(), "train": train})


def gpt2_config(shape: ModelConfig, vocabulary: Vocabulary) -> GPT2Config:
    """Return the configuration of the same model in `transformers`."""
    return GPT2Config(
        vocab_size=len(vocabulary),
        n_positions=shape.seq_length,
        n_embd=shape.hidden_size,
        n_layer=shape.num_layers,
        n_head=shape.num_attention_heads,
        activation_function="gelu_new",
        layer_norm_epsilon=LAYERNORM_EPSILON,
        resid_pdrop=shape.hidden_dropout,
        embd_pdrop=shape.hidden_dropout,
        attn_pdrop=shape.attention_dropout,
        bos_token_id=vocabulary.piece_start,
        eos_token_id=vocabulary.piece_end,
        pad_token_id=vocabulary.pad,
        tie_word_embeddings=True,
    )


@torch.no_grad()
def _compare(ours: GPTModel, theirs: GPT2LMHeadModel, shape: ModelConfig) -> Parity:
    """Compare on random tokens [2, seq_length], which reach every position."""
    ours.eval()
    theirs.eval()
    size = theirs.config.vocab_size
    generator = torch.Generator().manual_seed(SEED)
    tokens = torch.randint(size, (SEQUENCES, shape.seq_length), generator=generator)
    positions = torch.arange(shape.seq_length).expand(SEQUENCES, -1)
    differences = []
    for dtype in (torch.float64, torch.float32):
        expected = ours.to(dtype)(tokens, positions, None)[..., :size]
        differences.append(float((expected - theirs.to(dtype)(tokens).logits).abs().max()))
    return Parity(differences[1], differences[0], float(expected.abs().max()))
