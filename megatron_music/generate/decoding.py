"""Decode with a GPT-2: read tokens with a key-value cache, choose the next, until songs end.

This is `transformers`' greedy `generate` for one architecture. For a model of a laptop's size,
`generate` spends four fifths of a step outside the arithmetic (modules, caches, masks).
"""

from collections.abc import Callable, Sequence

import torch
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

from megatron_music.errors import CheckpointError

_ARITHMETIC = {
    "activation_function": "gelu_new",
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}
"""The settings of GPT-2 as published, the only ones that `CachedGPT2` computes."""

_FIRST_TOKENS = 256
"""The number of tokens that a new cache has room for."""

Choose = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Return the next token [songs] of each song, from its tokens so far [songs, tokens] and the fp32
logits of the next [songs, vocabulary]."""


class CachedGPT2:
    """The layers of a GPT-2 that read a batch of songs; the keys and values of each song stay.

    The weights are those of `model`, in its dtype and on its device; dropout is off. Raises
    CheckpointError for a model whose arithmetic is not GPT-2's.
    """

    taken: int
    """The number of tokens of each song so far."""

    def __init__(self, model: GPT2LMHeadModel, songs: int) -> None:
        refuse_other_arithmetic(model.config)
        self._model = model
        self._heads = model.config.n_head
        self.taken = 0
        shape = (len(model.transformer.h), 2, songs, self._heads, _FIRST_TOKENS)
        width = model.config.n_embd // self._heads
        self._cache = model.lm_head.weight.new_empty((*shape, width))

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Return what `read` takes for the next ids [songs, any number]: GPT-2's own sums."""
        positions = self._model.transformer.wpe.weight[self.taken : self.taken + ids.shape[1]]
        embeds: torch.Tensor = self._model.transformer.wte(ids) + positions
        return embeds

    def read(self, embeds: torch.Tensor) -> torch.Tensor:
        """Read the songs' next tokens; return the logits of what follows [songs, vocabulary].

        `embeds` [songs, any number of tokens, width] are the sums of token and position rows.
        """
        songs, count, width = embeds.shape
        first, self.taken = self.taken, self.taken + count
        # Doubled: a song of n tokens has its cache copied log n times.
        while self.taken > self._cache.shape[4]:
            self._cache = torch.cat([self._cache, torch.empty_like(self._cache)], dim=4)
        # One token may see all that came before it; of several, each sees those up to itself.
        mask = None
        if count > 1:
            mask = embeds.new_ones(count, self.taken, dtype=torch.bool).tril(first)
        flat = embeds.reshape(songs * count, width)
        transformer = self._model.transformer
        for layer, block in enumerate(transformer.h):
            projected = _affine(_norm(flat, block.ln_1), block.attn.c_attn)
            query, *new = projected.view(songs, count, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
            kept = self._cache[layer, :, :, :, : self.taken]
            kept[0, :, :, first:], kept[1, :, :, first:] = new
            mixed = scaled_dot_product_attention(query, kept[0], kept[1], mask)
            flat = flat + _affine(mixed.transpose(1, 2).reshape_as(flat), block.attn.c_proj)
            inner = gelu(_affine(_norm(flat, block.ln_2), block.mlp.c_fc), approximate="tanh")
            flat = flat + _affine(inner, block.mlp.c_proj)
        last = flat.view(songs, count, width)[:, -1]
        return linear(_norm(last, transformer.ln_f), self._model.lm_head.weight)


def refuse_other_arithmetic(config: GPT2Config) -> None:
    """Raise CheckpointError for a GPT-2 with settings that `CachedGPT2` does not compute."""
    for name, value in _ARITHMETIC.items():
        found = getattr(config, name, value)
        if found != value:
            raise CheckpointError(
                f"config.json has {name}={found!r}; expected {value!r}, as GPT-2 has: export the "
                "run again"
            )


def decode(
    read: Callable[[torch.Tensor], torch.Tensor],
    choose: Choose,
    start: torch.Tensor,
    ends: Sequence[int],
    max_tokens: int,
) -> list[list[int]]:
    """Choose tokens after `start` [songs, tokens] until each song has one of `ends`.

    `read` gives the logits that follow the songs' next tokens. Returns each song with its start,
    of at most `max_tokens`; its end is its last token, or missing where the tokens ran out.
    """
    songs, given = start.shape
    ids = start.new_empty(songs, max(max_tokens, given))
    ids[:, :given] = start
    stop = ids.new_tensor(list(ends))
    is_open = torch.ones(songs, dtype=torch.bool, device=ids.device)
    lengths = torch.full_like(is_open, given, dtype=torch.int64)
    first, taken = 0, given
    with torch.inference_mode():
        while taken < max_tokens and bool(is_open.any()):
            logits = read(ids[:, first:taken])
            ids[:, taken] = choose(ids[:, :taken], logits.float())
            first, taken = taken, taken + 1
            lengths += is_open
            is_open &= ~torch.isin(ids[:, first], stop)
    return [row[:length] for row, length in zip(ids.tolist(), lengths.tolist(), strict=True)]


def _norm(flat: torch.Tensor, module: torch.nn.LayerNorm) -> torch.Tensor:
    return layer_norm(flat, flat.shape[1:], module.weight, module.bias, module.eps)


def _affine(flat: torch.Tensor, module: Conv1D) -> torch.Tensor:
    # `transformers` keeps GPT-2's matrices as [inputs, outputs], the transpose of nn.Linear's.
    return torch.addmm(module.bias, flat, module.weight)
