"""Drawing tokens: Hugging Face's `generate`, held to the grammar, one random stream a song."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import (
    GPT2LMHeadModel,
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from megatron_music.generate.request import Request
from megatron_music.tokenizer.grammar import Plan, Walker
from megatron_music.tokenizer.vocabulary import Vocabulary


class GrammarProcessor(LogitsProcessor):  # type: ignore[misc]
    """Leave only the tokens from which a row can still become what its plan asks for."""

    def __init__(self, walkers: Sequence[Walker]) -> None:
        self._walkers = walkers

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Mask scores [songs, vocabulary] after taking the newest token of input_ids [songs, t]."""
        for walker, row in zip(self._walkers, input_ids.tolist(), strict=True):
            walker.follow(row)
        legal = torch.from_numpy(np.stack([walker.allowed() for walker in self._walkers]))
        return scores.masked_fill(~legal.to(scores.device), float("-inf"))


class SongSampler(LogitsProcessor):  # type: ignore[misc]
    """Choose each row's next token with the row's own random stream.

    The choice is made here by racing exponential clocks (the token of the largest p / E(1) is a
    draw from p) and handed to greedy decoding, so that a song does not depend on its batch.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._streams = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """Turn scores [songs, vocabulary] into ones whose largest is the token drawn."""
        size = scores.shape[-1]
        clocks = torch.stack([torch.empty(size).exponential_(generator=g) for g in self._streams])
        return scores.float().log_softmax(-1) - clocks.log().to(scores.device)


def draw(
    model: GPT2LMHeadModel,
    vocabulary: Vocabulary,
    plan: Plan,
    request: Request,
    seeds: Sequence[int],
) -> list[Walker]:
    """Draw one song a seed, all in one batch; each walker has taken its song to the end.

    The model's outputs beyond the vocabulary, if it has any, are never chosen.
    """
    walkers = [Walker(vocabulary, plan) for _ in seeds]
    start = torch.full((len(seeds), 1), vocabulary.piece_start, device=model.device)
    steps: list[LogitsProcessor] = [GrammarProcessor(walkers)]
    steps.append(TemperatureLogitsWarper(float(request.temperature)))
    if request.top_k:
        steps.append(TopKLogitsWarper(request.top_k))
    if request.top_p < 1:
        steps.append(TopPLogitsWarper(request.top_p))
    steps.append(SongSampler(seeds))
    ids = model.generate(
        start,
        attention_mask=torch.ones_like(start),
        logits_processor=LogitsProcessorList(steps),
        do_sample=False,
        max_length=plan.max_tokens,
        eos_token_id=vocabulary.piece_end,
        pad_token_id=vocabulary.pad,
    )
    for walker, row in zip(walkers, ids.tolist(), strict=True):
        walker.follow(row)
    return walkers
