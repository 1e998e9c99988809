"""A model in training as a Hugging Face GPT-2, without a file in between."""

from collections.abc import Mapping

import torch
from transformers import GPT2LMHeadModel

from megatron_music.config import ModelConfig
from megatron_music.export.parity import gpt2_config
from megatron_music.export.weights import convert_weights
from megatron_music.tokenizer.vocabulary import Vocabulary


def as_gpt2(
    state: Mapping[str, torch.Tensor], shape: ModelConfig, vocabulary: Vocabulary
) -> GPT2LMHeadModel:
    """Copy the state of a whole model in Megatron's local layers, in fp32, on its device."""
    weights = convert_weights(state, shape, len(vocabulary))
    device = weights["transformer.wte.weight"].device
    model = GPT2LMHeadModel(gpt2_config(shape, vocabulary)).to(device)
    model.load_state_dict(weights)
    return model
