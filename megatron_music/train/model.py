"""The GPT-2 of a recipe as a Megatron model.

Mirrors `model_provider` of Megatron-LM's gpt_builders.py for learned positions, tanh GELU, tied
embeddings and a vocabulary padded to a multiple of 128.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from megatron.core import parallel_state
from megatron.core.models.gpt import GPTModel
from megatron.core.models.gpt.gpt_layer_specs import (
    get_gpt_layer_local_spec,
    get_gpt_layer_with_transformer_engine_spec,
)
from megatron.core.transformer import TransformerConfig

from megatron_music.config import Recipe
from megatron_music.costs.flops import padded_vocab_size
from megatron_music.errors import LayoutError
from megatron_music.tokenizer.load import AnyVocabulary
from megatron_music.tokenizer.structure import position_rows
from megatron_music.train import backends
from megatron_music.train.distributed import ParallelContext
from megatron_music.train.hyperparameters import INIT_STD, LAYERNORM_EPSILON
from megatron_music.train.layers import TorchCoreAttention, gelu_tanh, use_unsharded_linears

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def layer_kernels(recipe: Recipe, context: ParallelContext) -> backends.Kernels:
    """Return which kernels the layers use on this device; raises UsageError."""
    asked = recipe.train.transformer_impl
    return backends.choose_kernels(asked, context.kind, backends.installed())


def build_model(recipe: Recipe, vocabulary: AnyVocabulary, context: ParallelContext) -> GPTModel:
    """Build this rank's part of the model on its device, from `train.seed`.

    One seed gives the same weights at every tensor and data parallel size. Raises LayoutError.
    """
    padded, tensor = padded_vocab_size(len(vocabulary)), recipe.parallel.tensor_model_parallel_size
    if padded % tensor:
        raise LayoutError(
            f"parallel.tensor_model_parallel_size={tensor} does not divide the padded vocabulary "
            f"of {padded}; use a power of two"
        )
    shape = recipe.model
    rows = position_rows(shape.structural_inputs, shape.seq_length, vocabulary)
    # Megatron's tracker needs a stream before weights are made on a GPU; the second seed is what
    # draws them, on the CPU: so they are the same at every tensor and data parallel size.
    context.reseed(recipe.train.seed, 0)
    torch.manual_seed(recipe.train.seed)
    config = transformer_config(recipe, context)
    if layer_kernels(recipe, context).transformer_impl == backends.TRANSFORMER_ENGINE:
        spec = get_gpt_layer_with_transformer_engine_spec()
    else:
        spec = get_gpt_layer_local_spec()
        spec.submodules.self_attention.submodules.core_attention = TorchCoreAttention
        # With one tensor parallel rank Megatron's linear layers only add the cost of their own
        # autograd function. Fused gradient accumulation lives in that function.
        if tensor == 1 and not config.gradient_accumulation_fusion:
            use_unsharded_linears(spec)
    model = GPTModel(
        config=config,
        transformer_layer_spec=spec,
        # Megatron splits the vocabulary over tensor parallel ranks: the padding makes it divide
        # evenly.
        vocab_size=padded,
        max_sequence_length=rows.total,
        pre_process=parallel_state.is_pipeline_first_stage(),
        post_process=parallel_state.is_pipeline_last_stage(),
        parallel_output=True,
        share_embeddings_and_output_weights=True,
        position_embedding_type="learned_absolute",
    )
    if model.pre_process:
        # Megatron makes an ordinary embedding and has no way to ask for another. The class is
        # changed in place, so that names and shapes in checkpoints stay Megatron's.
        model.embedding.position_embeddings.__class__ = PositionTable
    return model.cuda(context.device) if context.is_cuda else model


class PositionTable(torch.nn.Embedding):
    """GPT-2's table of positions, of whose rows a token may add up several."""

    def forward(self, rows: torch.Tensor | tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Return the sums of the rows of each token.

        Takes a row a token [b, s] or n of them [b, s, n] and returns [b, s, h]; for
        `Microbatch.position_ids` it returns [1, t, h].
        """
        if isinstance(rows, torch.Tensor):
            found = super().forward(rows)
            return found.sum(-2) if rows.dim() > 2 else found
        listed, starts = rows
        return F.embedding_bag(listed, self.weight, starts, mode="sum")[None]


def transformer_config(recipe: Recipe, context: ParallelContext) -> TransformerConfig:
    """Translate a recipe into Megatron's own configuration; fusions are for CUDA alone.

    Raises LayoutError for sequence parallel where it cannot be had.
    """
    shape, parallel, precision = recipe.model, recipe.parallel, recipe.train.precision
    kernels, packages = layer_kernels(recipe, context), backends.installed()
    fuses_gelu = context.is_cuda and kernels.transformer_impl == backends.TRANSFORMER_ENGINE
    return TransformerConfig(
        num_layers=shape.num_layers,
        hidden_size=shape.hidden_size,
        num_attention_heads=shape.num_attention_heads,
        ffn_hidden_size=4 * shape.hidden_size,
        hidden_dropout=shape.hidden_dropout,
        attention_dropout=shape.attention_dropout,
        layernorm_epsilon=LAYERNORM_EPSILON,
        init_method_std=INIT_STD,
        # Drawn on the CPU as a whole and then cut: one seed gives the same weights at every TP
        # size.
        use_cpu_initialization=True,
        tensor_model_parallel_size=parallel.tensor_model_parallel_size,
        pipeline_model_parallel_size=parallel.pipeline_model_parallel_size,
        sequence_parallel=backends.choose_sequence_parallel(
            recipe, context.kind, kernels, packages
        ),
        params_dtype=DTYPES[precision],
        pipeline_dtype=DTYPES[precision],
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        # Core attention is ours: nothing is left that this would fuse.
        masked_softmax_fusion=False,
        gradient_accumulation_fusion=backends.fuses_gradient_accumulation(context.kind, packages),
        # Megatron's batched sends need NCCL.
        batch_p2p_comm=context.is_cuda,
        deallocate_pipeline_outputs=parallel.pipeline_model_parallel_size > 1,
        # Megatron's fused GELU is the tanh form, named `F.gelu`; Transformer Engine leaves the bias
        # to it, our own linear layers add it in the product.
        activation_func=F.gelu if fuses_gelu else gelu_tanh,
        bias_activation_fusion=fuses_gelu,
        bias_dropout_fusion=context.is_cuda,
        # The gradient of the fused cross entropy is in bf16 in every precision.
        cross_entropy_loss_fusion=context.is_cuda and precision == "bf16",
        **_RECOMPUTE[recipe.train.recompute],
    )


_RECOMPUTE: dict[str, dict[str, Any]] = {
    "none": {},
    "selective": {"recompute_granularity": "selective"},
    "full": {
        "recompute_granularity": "full",
        "recompute_method": "uniform",
        "recompute_num_layers": 1,
    },
}
