"""Hugging Face's GPT-2 as what a run begins with: its shape checked, its weights in Megatron.

Mirrors `GPT2LMHeadModel` of transformers/models/gpt2/modeling_gpt2.py.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megatron_music.config import Recipe
from megatron_music.errors import CheckpointError
from megatron_music.files import read_small
from megatron_music.tokenizer.load import AnyVocabulary
from megatron_music.tokenizer.text_vocabulary import TextVocabulary
from megatron_music.train.hyperparameters import LAYERNORM_EPSILON

if TYPE_CHECKING:
    import torch
    from megatron.core.models.gpt import GPTModel

NORMS = {"input_layernorm": "ln_1", "pre_mlp_layernorm": "ln_2"}
LINEARS = {
    "self_attention.linear_proj": "attn.c_proj",
    "mlp.linear_fc1": "mlp.c_fc",
    "mlp.linear_fc2": "mlp.c_proj",
}
QKV = ("self_attention.linear_qkv", "attn.c_attn")
"""Names in a Megatron layer and what GPT-2 calls the same."""

_SHARDED_NORMS = {
    "self_attention.linear_qkv.layer_norm": "ln_1",
    "mlp.linear_fc1.layer_norm": "ln_2",
}
"""The names of norms in checkpoints, where they belong to the linear layers after them."""

_CONFIG = "config.json"
_SAME = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (LAYERNORM_EPSILON,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "tie_word_embeddings": (True,),
}
"""What the engine's GPT-2 has; the first is also transformers' default."""

_WORD_TABLE, _POSITION_TABLE = (
    "embedding.word_embeddings.weight",
    "embedding.position_embeddings.weight",
)

State = Mapping[str, "torch.Tensor"]


def is_gpt2_folder(folder: Path) -> bool:
    """Tell whether a folder is a Hugging Face GPT-2."""
    return bool(_config(folder).get("model_type") == "gpt2")


def check_gpt2(folder: Path, recipe: Recipe, vocabulary: AnyVocabulary) -> None:
    """Raise CheckpointError where a run cannot begin with the weights of a GPT-2 folder."""
    if not isinstance(vocabulary, TextVocabulary):
        raise CheckpointError(
            f"{folder} is an exported model, and music begins with a run or one of its "
            "checkpoints/step_N; give that with --from"
        )
    config, shape = _config(folder), recipe.model
    asked = {
        "n_layer": ("num_layers", shape.num_layers, 12),
        "n_embd": ("hidden_size", shape.hidden_size, 768),
        "n_head": ("num_attention_heads", shape.num_attention_heads, 12),
    }
    wrong = [
        f"model.{name}={config.get(key, usual)}"
        for key, (name, wanted, usual) in asked.items()
        if config.get(key, usual) != wanted
    ]
    positions = config.get("n_positions", 1024)
    if shape.seq_length > positions:
        wrong.append(f"model.seq_length={positions} at most")
    if wrong:
        raise CheckpointError(f"{folder} holds a GPT-2 with {', '.join(wrong)}; give it so")
    odd = [key for key, known in _SAME.items() if config.get(key, known[0]) not in known]
    if config.get("n_inner") not in (None, 4 * shape.hidden_size):
        odd.append("n_inner")
    if odd:
        raise CheckpointError(f"{folder} is not a usual GPT-2 ({', '.join(odd)} in {_CONFIG})")
    if not vocabulary.extends(folder):
        raise CheckpointError(
            f"the data's tokens are not those of {folder}; build the data with them: "
            f"megatron-music data build SOURCE -o DIR --text --like {folder}"
        )


def load_gpt2_weights(folder: Path, model: "GPTModel") -> None:
    """Load the weights into this rank's part of a model; raises CheckpointError.

    Rows of the vocabulary that GPT-2 lacks stay as they were drawn; of its positions the first are
    taken.
    """
    import torch
    from transformers import GPT2LMHeadModel

    try:
        source = GPT2LMHeadModel.from_pretrained(
            # A folder named by a user may hold code or pickles: neither is run, nothing is
            # downloaded.
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except Exception as fault:  # safetensors, json and torch each raise their own
        reason = " ".join(str(fault).split())[:200]
        raise CheckpointError(
            f"cannot load {folder}: {reason}; it needs config.json and model.safetensors"
        ) from fault
    whole = _in_megatron(source.transformer.state_dict(), source.config.n_head)
    with torch.no_grad():
        for part in model.sharded_state_dict().values():
            if hasattr(part, "global_offset") and part.data is not None:
                weight = whole.get(part.key)
                if weight is None:
                    raise CheckpointError(
                        f"GPT-2 has no weight for Megatron's {part.key}; please report this"
                    )
                # The first axes say which layer it is; the others where this rank's part begins.
                layer_axes = part.prepend_axis_num
                for axis in range(layer_axes):
                    weight = weight.narrow(axis, part.global_offset[axis], 1)
                weight = weight.reshape(weight.shape[layer_axes:])
                offsets = part.global_offset[layer_axes:]
                place = [
                    slice(begin, max(begin, min(begin + size, have)))
                    for begin, size, have in zip(
                        offsets, part.data.shape, weight.shape, strict=True
                    )
                ]
                held = weight[tuple(place)]
                part.data[tuple(slice(0, length) for length in held.shape)] = held.to(part.data)


def _in_megatron(source: State, heads: int) -> dict[str, "torch.Tensor"]:
    """Return GPT-2's state by Megatron's names; those of layers have a first axis of layers."""
    import torch

    # Megatron's distributed checkpoints hold all layers of a kind as one tensor with a first axis.
    layers = 1 + max(int(key.split(".")[1]) for key in source if key.startswith("h."))
    whole = {
        _WORD_TABLE: source["wte.weight"],
        _POSITION_TABLE: source["wpe.weight"],
        "decoder.final_layernorm.weight": source["ln_f.weight"],
        "decoder.final_layernorm.bias": source["ln_f.bias"],
    }

    def stacked(name: str) -> "torch.Tensor":
        return torch.stack([source[f"h.{layer}.{name}"] for layer in range(layers)])

    for ours, theirs in _SHARDED_NORMS.items():
        for part in ("weight", "bias"):
            whole[f"decoder.layers.{ours}_{part}"] = stacked(f"{theirs}.{part}")
    for ours, theirs in LINEARS.items():  # `Conv1D` keeps its weights [in, out]
        whole[f"decoder.layers.{ours}.weight"] = stacked(f"{theirs}.weight").transpose(1, 2)
        whole[f"decoder.layers.{ours}.bias"] = stacked(f"{theirs}.bias")
    ours, theirs = QKV
    weights, biases = stacked(f"{theirs}.weight").transpose(1, 2), stacked(f"{theirs}.bias")
    whole[f"decoder.layers.{ours}.weight"] = _by_heads(weights, heads)
    whole[f"decoder.layers.{ours}.bias"] = _by_heads(biases, heads)
    return whole


def _by_heads(qkv: "torch.Tensor", heads: int) -> "torch.Tensor":
    """Reorder rows [layers, rows, ...] from all q, all k, all v to [q, k, v] of each head."""
    layers, rows = qkv.shape[:2]
    apart = qkv.reshape(layers, 3, heads, rows // (3 * heads), *qkv.shape[2:])
    return apart.transpose(1, 2).reshape(qkv.shape)


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads(read_small(folder / _CONFIG))
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}
