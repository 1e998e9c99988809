"""Megatron's weights as Hugging Face GPT-2's: names, transposes, the order of q, k and v.

Mirrors `GPT2LMHeadModel` of transformers/models/gpt2/modeling_gpt2.py.
"""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from megatron_music.config import ModelConfig, Recipe
from megatron_music.tokenizer.load import AnyVocabulary
from megatron_music.tokenizer.structure import position_rows
from megatron_music.tokenizer.vocabulary import Vocabulary
from megatron_music.train.gpt2 import LINEARS, NORMS, QKV
from megatron_music.train.hyperparameters import LAYERNORM_EPSILON

Weights = dict[str, torch.Tensor]

CHOIR_GUIDANCE, BAND_GUIDANCE = 0.375, 0.25
"""Written for models with structural inputs: docs/composing.md, Guidance."""
BAND_MIN_P = 0.03
"""Written for other music than choirs': docs/composing.md, How a token is drawn."""
PARALLEL_PENALTY = 5.0
"""Written for choirs; chosen on chorales: docs/composing.md, Parallel fifths and octaves."""


def convert_weights(
    source: Mapping[str, torch.Tensor], shape: ModelConfig, vocabulary_size: int
) -> Weights:
    """Return the state of a `GPT2LMHeadModel`; the rows that pad the vocabulary are dropped.

    `source` is the state of a whole (TP=1, PP=1) `GPTModel` with Megatron's local layers.
    """
    # The rows after these are padding, which no token looks up.
    embedding = source["embedding.word_embeddings.weight"][:vocabulary_size]
    weights = {
        "transformer.wte.weight": embedding,
        # Tied, but named twice: `load_state_dict` asks for both.
        "lm_head.weight": embedding,
        "transformer.wpe.weight": source["embedding.position_embeddings.weight"],
        "transformer.ln_f.weight": source["decoder.final_layernorm.weight"],
        "transformer.ln_f.bias": source["decoder.final_layernorm.bias"],
    }
    for layer in range(shape.num_layers):
        prefix = f"decoder.layers.{layer}."
        state = {
            key.removeprefix(prefix): value
            for key, value in source.items()
            # Megatron's state also holds `_extra_state` entries, which are bytes or None.
            if key.startswith(prefix) and isinstance(value, torch.Tensor)
        }
        block = {}
        for ours, theirs in NORMS.items():
            for part in ("weight", "bias"):
                block[f"{theirs}.{part}"] = state[f"{ours}.{part}"]
        # GPT-2's `Conv1D` keeps its weights as [inputs, outputs].
        for ours, theirs in LINEARS.items():
            block[f"{theirs}.weight"] = state[f"{ours}.weight"].t()
            block[f"{theirs}.bias"] = state[f"{ours}.bias"]
        ours, theirs = QKV
        block[f"{theirs}.weight"] = _separate(
            state[f"{ours}.weight"], shape.num_attention_heads
        ).t()
        block[f"{theirs}.bias"] = _separate(state[f"{ours}.bias"], shape.num_attention_heads)

        weights |= {f"transformer.h.{layer}.{key}": value for key, value in block.items()}
    return {key: value.detach().clone() for key, value in weights.items()}


def _separate(qkv: torch.Tensor, heads: int) -> torch.Tensor:
    """Reorder rows from [q, k, v] of each head to all q, all k, all v."""
    rows = qkv.shape[0]
    return (
        qkv.view(heads, 3, rows // (3 * heads), *qkv.shape[1:]).transpose(0, 1).reshape(qkv.shape)
    )


def as_gpt2(
    state: Mapping[str, torch.Tensor], recipe: Recipe, vocabulary: AnyVocabulary
) -> GPT2LMHeadModel:
    """Copy the state of a whole model in Megatron's local layers, in fp32, on its device."""
    weights = convert_weights(state, recipe.model, len(vocabulary))
    device = weights["transformer.wte.weight"].device
    model = GPT2LMHeadModel(gpt2_config(recipe, vocabulary)).to(device)
    model.load_state_dict(weights)
    return model


def gpt2_config(recipe: Recipe, vocabulary: AnyVocabulary) -> GPT2Config:
    """Return the configuration of the same model in `transformers`.

    With structural inputs it says which rows of the position table mean what, and how songs are
    composed: with guidance if the model also saw documents without inputs, with a penalty for
    parallels if all its music is for a choir, where fifths and octaves do not move in parallel,
    else with a lower min-p.
    """
    shape = recipe.model
    rows = position_rows(shape.structural_inputs, shape.seq_length, vocabulary)
    is_choir = isinstance(vocabulary, Vocabulary) and vocabulary.settings.voices
    guidance = CHOIR_GUIDANCE if is_choir else BAND_GUIDANCE
    structure: dict[str, Any] = {}
    if shape.structural_inputs:
        structure = {
            "structural_inputs": list(shape.structural_inputs),
            "seq_length": shape.seq_length,
            "guidance": guidance if recipe.train.plain_share else 0.0,
            **({} if is_choir else {"min_p": BAND_MIN_P}),
            "parallel_penalty": PARALLEL_PENALTY if is_choir and rows.fifths >= 0 else 0.0,
        }
    return GPT2Config(
        vocab_size=len(vocabulary),
        n_positions=rows.total,
        n_embd=shape.hidden_size,
        n_layer=shape.num_layers,
        n_head=shape.num_attention_heads,
        # The tanh form, as in training; "gelu" would be the exact one.
        activation_function="gelu_new",
        layer_norm_epsilon=LAYERNORM_EPSILON,
        resid_pdrop=shape.hidden_dropout,
        embd_pdrop=shape.hidden_dropout,
        attn_pdrop=shape.attention_dropout,
        bos_token_id=vocabulary.piece_start,
        eos_token_id=vocabulary.piece_end,
        pad_token_id=vocabulary.pad,
        tie_word_embeddings=True,
        **structure,
    )
