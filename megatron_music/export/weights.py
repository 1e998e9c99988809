"""Megatron's weights as Hugging Face GPT-2's: names, transposes, the order of q, k and v.

Mirrors `GPT2LMHeadModel` of transformers/models/gpt2/modeling_gpt2.py.
"""

from collections.abc import Mapping

import torch

from megatron_music.config import ModelConfig

Weights = dict[str, torch.Tensor]

_NORMS = {"input_layernorm": "ln_1", "pre_mlp_layernorm": "ln_2"}
_LINEARS = {
    "self_attention.linear_proj": "attn.c_proj",
    "mlp.linear_fc1": "mlp.c_fc",
    "mlp.linear_fc2": "mlp.c_proj",
}


def convert_weights(
    source: Mapping[str, torch.Tensor], shape: ModelConfig, vocabulary_size: int
) -> Weights:
    """Return the state of a `GPT2LMHeadModel`; the rows that pad the vocabulary are dropped.

    `source` is the state of a whole (TP=1, PP=1) `GPTModel` with Megatron's local layers.
    """
    embedding = source["embedding.word_embeddings.weight"][:vocabulary_size]
    weights = {
        "transformer.wte.weight": embedding,
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
            if key.startswith(prefix) and isinstance(value, torch.Tensor)
        }
        block = _convert_layer(state, shape.num_attention_heads)
        weights |= {f"transformer.h.{layer}.{key}": value for key, value in block.items()}
    return {key: value.detach().clone() for key, value in weights.items()}


def _convert_layer(state: Weights, heads: int) -> Weights:
    """Convert one layer; GPT-2's `Conv1D` keeps its weights [in, out]."""
    block = {}
    for ours, theirs in _NORMS.items():
        for part in ("weight", "bias"):
            block[f"{theirs}.{part}"] = state[f"{ours}.{part}"]
    for ours, theirs in _LINEARS.items():
        block[f"{theirs}.weight"] = state[f"{ours}.weight"].t()
        block[f"{theirs}.bias"] = state[f"{ours}.bias"]
    qkv = "self_attention.linear_qkv"
    block["attn.c_attn.weight"] = _separate(state[f"{qkv}.weight"], heads).t()
    block["attn.c_attn.bias"] = _separate(state[f"{qkv}.bias"], heads)
    return block


def _separate(qkv: torch.Tensor, heads: int) -> torch.Tensor:
    """Reorder rows from [q, k, v] of each head to all q, all k, all v."""
    rows = qkv.shape[0]
    return (
        qkv.view(heads, 3, rows // (3 * heads), *qkv.shape[1:]).transpose(0, 1).reshape(qkv.shape)
    )
