"""Core attention for Megatron's local layers, on torch's own kernels."""

from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from megatron.core.tensor_parallel.random import get_cuda_rng_tracker
from megatron.core.transformer import TransformerConfig
from megatron.core.transformer.module import MegatronModule

BLOCK = 128
"""Queries a block on a CPU: the fastest of 64 to 640 in fp32 at 640 tokens."""


class TorchCoreAttention(MegatronModule):  # type: ignore[misc]
    """Causal core attention on torch's kernels, for a Megatron layer spec.

    Mirrors the interface of megatron/core/transformer/dot_product_attention.py. Takes query, key
    and value [s, b, heads / TP, d] and returns [s, b, heads / TP * d].
    """

    def __init__(
        self,
        config: TransformerConfig,
        attention_dropout: float | None = None,
        softmax_scale: float | None = None,
        **_: Any,
    ) -> None:
        super().__init__(config=config)
        self.dropout = config.attention_dropout if attention_dropout is None else attention_dropout
        self.softmax_scale = softmax_scale

    def forward(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **__: Any
    ) -> torch.Tensor:
        """Attend to the past; dropout draws from Megatron's tensor parallel stream on CUDA."""
        tokens, batch, heads, width = query.shape
        dropout = self.dropout if self.training else 0.0
        q, k, v = (part.permute(1, 2, 0, 3) for part in (query, key, value))
        with get_cuda_rng_tracker().fork() if dropout else nullcontext():
            if query.is_cuda:
                context = F.scaled_dot_product_attention(
                    q, k, v, dropout_p=dropout, is_causal=True, scale=self.softmax_scale
                )
            else:
                context = attend_by_blocks(q, k, v, dropout, self.softmax_scale)
        return context.permute(2, 0, 1, 3).reshape(tokens, batch, heads * width)


def attend_by_blocks(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    dropout: float = 0.0,
    scale: float | None = None,
) -> torch.Tensor:
    """Return causal attention, each block of queries over its own past alone; all [b, heads, s, d].

    The same as `scaled_dot_product_attention`, which on a CPU computes nearly the whole square and
    gains nothing from bf16. Keeps the weights for the backward pass: memory grows with s^2.
    """
    batch, heads, tokens, width = query.shape
    q, k, v = (part.reshape(batch * heads, tokens, width) for part in (query, key, value))
    k = k.transpose(1, 2)
    scale = width**-0.5 if scale is None else scale
    # Row i is -inf from column tokens + i + 1 on: a block takes its part by its place.
    mask = q.new_full((BLOCK, tokens + BLOCK), -torch.inf).triu(tokens + 1)
    blocks = []
    for begin in range(0, tokens, BLOCK):
        end = min(begin + BLOCK, tokens)
        unseen = mask[: end - begin, tokens - begin : tokens - begin + end]
        scores = torch.baddbmm(unseen, q[:, begin:end], k[:, :, :end], alpha=scale)
        blocks.append(F.dropout(scores.softmax(-1), dropout) @ v[:, :end])
    return torch.cat(blocks, 1).view(batch, heads, tokens, width)
