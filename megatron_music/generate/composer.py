"""A trained model at work: load an exported folder, ask for songs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import torch
from transformers import GPT2LMHeadModel
from transformers.utils import logging

from megatron_music.errors import CheckpointError, UsageError
from megatron_music.generate.request import Request
from megatron_music.generate.sampler import draw
from megatron_music.generate.song import Song
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.grammar import Plan, Walker
from megatron_music.tokenizer.vocabulary import Vocabulary, load_vocabulary

BATCH_SONGS = 16


class Composer:
    """An exported model with its vocabulary."""

    def __init__(self, model: GPT2LMHeadModel, vocabulary: Vocabulary) -> None:
        self.model = model.eval()
        self.vocabulary = vocabulary
        if model.config.vocab_size != len(vocabulary):
            raise CheckpointError(
                f"the model has {model.config.vocab_size} tokens, its vocabulary "
                f"{len(vocabulary)}; export the run again"
            )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load a folder that `export` wrote, onto a GPU if there is one; raises CheckpointError."""
        if not (folder / "config.json").is_file():
            raise CheckpointError(
                f"no exported model in {folder}; make one with: megatron-music export RUN -o DIR"
            )
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        try:
            model = GPT2LMHeadModel.from_pretrained(folder, local_files_only=True)
        except Exception as fault:  # safetensors, json and torch each raise their own
            reason = " ".join(str(fault).split())[:200]
            raise CheckpointError(f"cannot load {folder}: {reason}; export it again") from fault
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(model.to(device), load_vocabulary(folder))

    def compose(self, request: Request) -> Iterator[Song]:
        """Compose the songs asked for, one after another; raises UsageError for an impossible wish.

        Every song is legal mmmtrack of the instruments and bars asked for, whatever the weights.
        """
        plan = self.plan(request)
        for first in range(0, request.count, BATCH_SONGS):
            seeds = range(
                request.seed + first, request.seed + min(first + BATCH_SONGS, request.count)
            )
            with torch.inference_mode():
                walkers = draw(self.model, self.vocabulary, plan, request, seeds)
            for seed, walker in zip(seeds, walkers, strict=True):
                yield Song(seed, _in_score_order(walker.piece()), tuple(walker.tokens))

    def plan(self, request: Request) -> Plan:
        """Return the plan of each song; raises UsageError if the model's context cannot hold it."""
        context = int(self.model.config.n_positions)
        plan = request.plan(self.vocabulary, context)
        needed = Walker(self.vocabulary, plan).tokens_owed
        if needed > context:
            raise UsageError(
                f"{plan.bars} bars with {len(plan.instruments or (0,))} instrument(s) take "
                f"{needed} tokens or more, this model holds {context}; ask for fewer"
            )
        return plan


def _in_score_order(piece: Piece) -> Piece:
    return replace(piece, tracks=tuple(sorted(piece.tracks, key=lambda track: track.instrument)))
