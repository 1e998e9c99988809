"""Load an exported model and compose songs with it."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from transformers import GPT2LMHeadModel

from megatron_music.errors import CheckpointError, UsageError
from megatron_music.generate.from_nothing import begin_words, compose, first_plan
from megatron_music.generate.from_prompt import start_from_prompt
from megatron_music.generate.harmonise import ensemble_of, to_be_sung
from megatron_music.generate.infill import write
from megatron_music.generate.load_model import load_on_device
from megatron_music.generate.prompt import Prompt
from megatron_music.generate.sampler import TokenSampler, Watch
from megatron_music.generate.sampling_params import Steering
from megatron_music.generate.song import Song
from megatron_music.generate.song_key import parse_key
from megatron_music.generate.song_request import Request
from megatron_music.generate.structural import rows_of, sampling_defaults
from megatron_music.generate.words_to_melody import sing
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.codec import encode
from megatron_music.tokenizer.grammar_state import Plan
from megatron_music.tokenizer.vocabulary import Vocabulary, load_vocabulary

BATCH_SONGS = 16

Work = Callable[[TokenSampler, Sequence[int]], list[Song]]
"""A function that composes a song for each seed with a sampler."""


class Composer:
    """An exported model with its vocabulary."""

    def __init__(self, model: GPT2LMHeadModel, vocabulary: Vocabulary) -> None:
        self.model = model.eval()
        self.vocabulary = vocabulary
        self._exact: GPT2LMHeadModel | None = None
        if model.config.vocab_size != len(vocabulary):
            raise CheckpointError(
                f"the model has {model.config.vocab_size} tokens, its vocabulary "
                f"{len(vocabulary)}; export the run again"
            )
        self.rows = rows_of(model.config, vocabulary)
        self._defaults = sampling_defaults(model.config)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load a folder that `export` wrote, onto a GPU if torch can use one.

        Raises CheckpointError, and MissingError for a GPU that torch has no code for.
        """
        return cls(load_on_device(folder), load_vocabulary(folder))

    def compose(
        self, request: Request, prompt: Piece | Prompt | None = None, watch: Watch | None = None
    ) -> Iterator[Song]:
        """Compose the requested songs, one after another; raises UsageError.

        With any weights, every song is legal mmmtrack of the requested instruments and bars.
        Without `prompt` songs are made from nothing; with one, on the model's grid, it is
        continued, or filled, varied or harmonised as the request says. `watch` is called after
        every token: see `sampler.Watch`.
        """
        if request.guidance and self.rows.total == self.rows.seq_length:
            raise UsageError(
                f"this model has no structural inputs; leave out `guidance` (got "
                f"{request.guidance}), or train with model.structural_inputs"
            )
        if request.parallel_penalty and self.rows.fifths < 0:
            raise UsageError(
                "this model does not know which pitches move in parallel; leave out "
                "`parallel_penalty`, or train with motion among model.structural_inputs"
            )
        for name in ("begin", "end"):
            if getattr(request, name) and self.rows.since_begin < 0:
                raise UsageError(
                    f"this model does not know the place in a piece; leave out `{name}`, or train "
                    "with place among model.structural_inputs"
                )
        request.refuse_unsung(self.vocabulary)
        if prompt is None:
            return self._songs(request, self._from_nothing(request), watch)
        return self._songs(request, self._from_prompt(Prompt.of(prompt), request), watch)

    def _songs(self, request: Request, work: Work, watch: Watch | None) -> Iterator[Song]:
        sampler = self.sampler(request, watch)
        seeds = request.seeds
        for first in range(0, len(seeds), BATCH_SONGS):
            batch = seeds[first : first + BATCH_SONGS]
            for seed, song in zip(batch, work(sampler, batch), strict=True):
                # Encoded again: a song of several windows has no tokens of one.
                tokens = tuple(encode(song.piece, self.vocabulary).tolist())
                yield replace(song, seed=seed, tokens=tokens)

    def sampler(self, request: Request, watch: Watch | None = None) -> TokenSampler:
        """Return the sampler for the songs of a request."""
        model = self.model
        if request.exact:
            # In fp64 rounding differs too little between machines to change a choice. A copy:
            # other requests still compute in fp32.
            self._exact = self._exact or copy.deepcopy(self.model).double()
            model = self._exact
        key = None if request.key is None else parse_key(request.key)
        blends = request.blends(self.vocabulary)
        asked = {name: getattr(request, name) for name in self._defaults}
        options = self._defaults | {
            name: float(value) for name, value in asked.items() if value is not None
        }
        sampling = request.sampling._replace(min_p=options.pop("min_p"))
        return TokenSampler(
            model, self.vocabulary, sampling, key, watch, blends, Steering(**options)
        )

    def plan(self, request: Request) -> Plan:
        """Return the plan of the first song's first window; raises UsageError where none fits."""
        first = request.seeds[0]
        return first_plan(request, self.vocabulary, self.rows.seq_length, first)

    def _from_nothing(self, request: Request) -> Work:
        """Return the function that composes from nothing; raises UsageError if it cannot."""
        request.refuse_without_piece()
        if request.words is None:
            self.plan(request)
        else:
            first = request.seeds[0]
            begin_words(request, self.vocabulary, self.rows.seq_length, first)
        return lambda sampler, seeds: [
            _in_score_order(Song(0, piece, ()))
            for piece in compose(sampler, request, self.vocabulary, seeds)
        ]

    def _from_prompt(self, given: Prompt, asked: Request) -> Work:
        """Return the function that composes from a prompt; raises UsageError if it cannot."""
        vocabulary = self.vocabulary
        prompt, request = given.as_named(ensemble_of(vocabulary)), given.on_grid(asked)
        if prompt.piece.steps_per_quarter != vocabulary.settings.steps_per_quarter:
            raise UsageError(
                f"the piece is on a grid of {prompt.piece.steps_per_quarter} steps a quarter, the "
                f"model on {vocabulary.settings.steps_per_quarter}; quantize it to that"
            )
        request.refuse_with_piece()
        if request.sing:
            sung, melody = to_be_sung(prompt, request, vocabulary)
            return lambda sampler, seeds: [
                Song(0, piece, (), sung.sources, sung.holes, sung.dropped, sings=melody)
                for piece in sing(sampler, sung.piece, melody, seeds, request, vocabulary)
            ]

        # Errors of the request are raised here, before the model computes anything.
        start_from_prompt(prompt, request, vocabulary, request.seeds[0])

        def work(sampler: TokenSampler, seeds: Sequence[int]) -> list[Song]:
            states = [start_from_prompt(prompt, request, vocabulary, seed) for seed in seeds]
            pieces = write(sampler, states, seeds, request, vocabulary)
            songs = [
                Song(0, piece, (), state.sources, state.holes, state.dropped)
                for piece, state in zip(pieces, states, strict=True)
            ]
            return songs if request.voice is None else [_in_score_order(one) for one in songs]

        return work


def _in_score_order(song: Song) -> Song:
    # Models write tracks in any order; a person reads them from the highest voice to the drums.
    tracks = song.piece.tracks
    order = sorted(range(len(tracks)), key=lambda place: tracks[place].instrument)
    piece = replace(song.piece, tracks=tuple(tracks[place] for place in order))
    if not song.sources:
        return replace(song, piece=piece)
    sources = tuple(song.sources[place] for place in order)
    return replace(song, piece=piece, sources=sources, new=song.new[order])
