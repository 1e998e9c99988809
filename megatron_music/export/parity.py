"""Write the Hugging Face model, read it back, and compare its logits with Megatron's."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import GPT2LMHeadModel
from transformers.utils import logging as transformers_logging

from megatron_music.config import ModelConfig, ParallelConfig, Recipe
from megatron_music.export.checkpoints import Source
from megatron_music.export.weights import convert_weights, gpt2_config
from megatron_music.train import distributed
from megatron_music.train.checkpoint import load_model
from megatron_music.train.model import build_model
from megatron_music.train.run_dir import is_hf_trainer_checkpoint

SEQUENCES = 2
SEED = 0
ROWS = 4
"""The rows of each token when models with structural inputs are compared."""


@dataclass(frozen=True)
class Parity:
    """Largest difference of two models' logits, in fp32 and, without its rounding, in fp64."""

    largest_difference: float
    largest_difference_fp64: float
    largest_logit: float

    @property
    def relative_difference(self) -> float:
        """Return the difference in units of the largest logit, or of 1 where that is larger."""
        return self.largest_difference / max(1.0, self.largest_logit)


def write_model(source: Source, folder: Path) -> Parity:
    """Write `config.json` and `model.safetensors` in fp32 and compare what they give back.

    Loads the checkpoint in one CPU process, from any layout; one of Hugging Face's Trainer
    is copied without what pads its vocabulary. Raises CheckpointError.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    if is_hf_trainer_checkpoint(source.step):
        # The state is that of a GPT-2 but for the padding of its vocabulary.
        trained = GPT2LMHeadModel.from_pretrained(source.step).eval()
        exported = copy.deepcopy(trained)
        exported.resize_token_embeddings(len(source.vocabulary))
        exported.config = gpt2_config(source.recipe, source.vocabulary)
        exported.save_pretrained(folder)
        return _compare(
            lambda tokens, rows, dtype: _logits(trained.to(dtype), tokens, rows),
            folder,
            source.recipe.model,
        )
    recipe = in_one_process(source.recipe)
    with distributed.start(recipe, on_cpu=True, alone=True) as context:
        model = build_model(recipe, source.vocabulary, context)
        # Megatron's distributed checkpoints load in any layout, so one CPU process is enough for
        # all.
        load_model(source.step, model)
        weights = convert_weights(model.state_dict(), recipe.model, len(source.vocabulary))
        exported = GPT2LMHeadModel(gpt2_config(recipe, source.vocabulary))
        exported.load_state_dict(weights)
        exported.save_pretrained(folder)
        model.eval()
        return _compare(
            lambda tokens, rows, dtype: model.to(dtype)(tokens, rows, None), folder, recipe.model
        )


def in_one_process(recipe: Recipe) -> Recipe:
    """Return the recipe for one process in fp32."""
    changes = {"precision": "fp32", "recompute": "none", "transformer_impl": "local"}
    train = recipe.train.model_copy(update=changes)
    return recipe.model_copy(update={"parallel": ParallelConfig(), "train": train})


@torch.no_grad()
def _compare(
    trained: Callable[[torch.Tensor, torch.Tensor, torch.dtype], torch.Tensor],
    folder: Path,
    shape: ModelConfig,
) -> Parity:
    """Compare on random tokens [2, seq_length], and on random rows of the position table.

    Without structural inputs each token takes the row of its index. `trained` gives the logits of
    tokens with their rows, computed in a dtype.
    """
    exported = GPT2LMHeadModel.from_pretrained(folder).eval()
    size = exported.config.vocab_size
    generator = torch.Generator().manual_seed(SEED)
    tokens = torch.randint(size, (SEQUENCES, shape.seq_length), generator=generator)
    # Whole sequences: a wrong row of the position table shows only where it is used.
    rows = torch.arange(shape.seq_length).expand(SEQUENCES, -1)[..., None]
    if shape.structural_inputs:
        sums = (SEQUENCES, shape.seq_length, ROWS)
        rows = torch.randint(exported.config.n_positions, sums, generator=generator)
    differences = []
    # In fp64 a wrong transpose or order of q, k and v stays, and rounding goes.
    for dtype in (torch.float64, torch.float32):
        expected = trained(tokens, rows, dtype)[..., :size]
        found = _logits(exported.to(dtype), tokens, rows)
        differences.append(float((expected - found).abs().max()))
    return Parity(differences[1], differences[0], float(expected.abs().max()))


def _logits(model: GPT2LMHeadModel, tokens: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return the logits of tokens [b, s] that add up rows [b, s, n] of the position table."""
    table = model.transformer.wpe
    logits: torch.Tensor = model(
        inputs_embeds=model.transformer.wte(tokens) + table(rows[..., 1:]).sum(-2),
        position_ids=rows[..., 0],
        attention_mask=torch.ones_like(tokens),  # else positions that go back divide the sequence
    ).logits
    return logits
