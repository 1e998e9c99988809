"""Sample without the grammar's mask, and find the first mistake."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import GPT2LMHeadModel

from megatron_music.errors import TokenError
from megatron_music.generate.decoding import decode
from megatron_music.generate.structural import SongReader
from megatron_music.progress import Progress, silent
from megatron_music.tokenizer.grammar import Walker
from megatron_music.tokenizer.vocabulary import Vocabulary

WHOLE, BROKEN, UNFINISHED = "whole", "broken", "unfinished"

BATCH = 16


@dataclass(frozen=True)
class UnconstrainedSample:
    """The outcome of a sample without a mask.

    `outcome`: `whole` is legal to its end; `broken` has an illegal token, the first after
    `legal_tokens` legal ones, for the reason given; `unfinished` is legal up to the end of the
    model's context.
    """

    outcome: str
    legal_tokens: int
    reason: str = ""


def sample_unconstrained(
    model: GPT2LMHeadModel,
    vocabulary: Vocabulary,
    count: int,
    seed: int,
    progress: Progress = silent,
) -> list[UnconstrainedSample]:
    """Draw `count` pieces at temperature 1 from all tokens, with neither mask nor truncation.

    A model with structural inputs gets them, but for the place in the piece.
    """
    samples: list[UnconstrainedSample] = []
    reader = SongReader(model, vocabulary)
    devices = [model.device] if model.device.type == "cuda" else []
    progress(0, count)
    for first in range(0, count, BATCH):
        songs = min(BATCH, count - first)
        start = torch.full((songs, 1), vocabulary.piece_start, device=model.device)
        reader.begin(songs)
        # The generators of the caller stay as they were.
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed + first)
            rows = decode(
                reader.read,
                lambda _, scores: torch.multinomial(scores.softmax(-1), 1)[:, 0],
                start,
                [vocabulary.piece_end],
                reader.rows.seq_length,
            )
        samples += [check_sample(row, vocabulary) for row in rows]
        progress(len(samples), count)
    return samples


def check_sample(tokens: Sequence[int], vocabulary: Vocabulary) -> UnconstrainedSample:
    """Check one sample by the grammar, up to PIECE_END."""
    walker = Walker(vocabulary)
    ends = [place + 1 for place, token in enumerate(tokens) if token == vocabulary.piece_end]
    try:
        walker.follow(tokens[: ends[0]] if ends else tokens)
    except TokenError as fault:
        return UnconstrainedSample(BROKEN, walker.length, fault.reason)
    return UnconstrainedSample(WHOLE if walker.is_whole else UNFINISHED, walker.length)
