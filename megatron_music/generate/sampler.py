"""Draw tokens under the grammar's mask; each song has a random stream of its own."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from transformers import GPT2LMHeadModel, LogitsProcessor

from megatron_music.errors import CheckpointError
from megatron_music.generate.decoding import decode
from megatron_music.generate.sampling_kernel import sample_tokens, song_seeds
from megatron_music.generate.sampling_params import NO_STEERING, SamplingParams, Steering
from megatron_music.generate.song_key import Key
from megatron_music.generate.structural import SongReader
from megatron_music.score.instruments import DRUMS, INSTRUMENT_COUNT
from megatron_music.tokenizer.attributes import Blend
from megatron_music.tokenizer.grammar_state import Plan, new_rules, new_state
from megatron_music.tokenizer.grammar_walk_kernel import mark_legal, take_tokens
from megatron_music.tokenizer.infill_kernel import (
    mark_template_tokens,
    new_templates,
    take_template_tokens,
)
from megatron_music.tokenizer.infill_template import InfillTemplate
from megatron_music.tokenizer.structure import PlaceArray
from megatron_music.tokenizer.vocabulary import PITCHES, Vocabulary

Tokens = npt.NDArray[np.int64]
Masks = npt.NDArray[np.bool_]

_KEY_STRENGTH = 2.0
"""How many times over the notes of a scale are weighed by how well they fit its key.

Of 12 songs of bach-tiny in C major and 12 in E minor, `key_of` finds that key in 5 and 3 by the
mask alone, in 10 and 4 at strength 1, in 11 and 7 at strength 2.
"""

Watch = Callable[[int, list[int]], None]
"""Called after every token with the first bar of the window and the first song's tokens so far.

An exception that it raises ends the composing.
"""


class Constraint(Protocol):
    """The grammar's state of the songs of a batch: which tokens may come next in each."""

    given: list[list[int]]
    """The tokens that each song begins with, before any is chosen."""
    syllables: slice | None
    """The ids of SYLLABLE tokens where words or notes are given, see `keep_shares`; else None."""

    def take(self, tokens: Tokens) -> None:
        """Move each song past its next tokens [songs, any number]."""

    def mark(self, masks: Masks) -> None:
        """Write the legal next tokens to masks [songs, vocabulary]."""


class PlanConstraint:
    """Songs without a prompt, a plan each; plans differ only in bars and instruments."""

    syllables: slice | None = None

    def __init__(self, vocabulary: Vocabulary, plans: Sequence[Plan]) -> None:
        self.given = [[vocabulary.piece_start, *(plan.attributes or ())] for plan in plans]
        self._rules = new_rules(vocabulary, plans[0])
        self._state = new_state(plans, self._rules)

    def take(self, tokens: Tokens) -> None:
        """Move each song past its next tokens."""
        take_tokens(tokens, self._state, self._rules)

    def mark(self, masks: Masks) -> None:
        """Write the legal next tokens."""
        mark_legal(self._state, self._rules, masks)


class InfillConstraint:
    """Songs with bars to be written, a template each; see `new_templates`."""

    syllables: slice | None = None

    def __init__(
        self,
        vocabulary: Vocabulary,
        templates: Sequence[InfillTemplate],
        max_tokens: int,
        velocities: tuple[int, int] | None = None,
    ) -> None:
        self.given = [template.given for template in templates]
        self.templates = new_templates(templates, vocabulary, max_tokens, velocities)

    def take(self, tokens: Tokens) -> None:
        """Move each song past its next tokens."""
        take_template_tokens(tokens, self.templates)

    def mark(self, masks: Masks) -> None:
        """Write the legal next tokens."""
        mark_template_tokens(self.templates, masks)


class GrammarProcessor(LogitsProcessor):  # type: ignore[misc]
    """Leave only the tokens after which a row can still meet its constraint.

    With it any `generate` of `transformers` composes valid music.
    """

    def __init__(self, constraint: Constraint, vocabulary_size: int) -> None:
        self._constraint = constraint
        self._taken = 0
        self._barred = np.empty((len(constraint.given), vocabulary_size), np.bool_)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Mask scores [songs, vocabulary] after taking the newest tokens of input_ids [songs, t].

        The model's outputs beyond the vocabulary, if it has any, are never chosen.
        """
        # `generate` hands over the whole row each time; only its new tokens are taken.
        self._constraint.take(input_ids[:, self._taken :].cpu().numpy())
        self._taken = input_ids.shape[1]
        self._constraint.mark(self._barred)
        np.logical_not(self._barred, out=self._barred)
        barred = torch.from_numpy(self._barred).to(scores.device)
        legal = scores.masked_fill(barred, float("-inf"))
        syllables = self._constraint.syllables
        return legal if syllables is None else keep_shares(scores, legal, syllables)


def keep_shares(scores: torch.Tensor, legal: torch.Tensor, syllables: slice) -> torch.Tensor:
    """Return the legal scores [songs, vocabulary], syllables as likely as among all the scores.

    Where words are given, only one syllable is legal; where notes are given, only one note. The
    probability of all syllables together then decides how likely it is that a note is sung.
    """
    kept = legal.clone()
    others = torch.ones(scores.shape[1], dtype=torch.bool, device=scores.device)
    others[syllables] = False
    for kind in (others, ~others):
        lost = scores[:, kind].logsumexp(1) - legal[:, kind].logsumexp(1)
        moved = torch.where(lost.isfinite(), lost, 0.0)
        kept[:, kind] = legal[:, kind] + moved[:, None]
    return kept


class KeyProcessor(LogitsProcessor):  # type: ignore[misc]
    """Mask notes outside a key's scale where another token is legal; drums have no key.

    Of the scale's notes, the tonic and those close to it become likelier; that a note begins stays
    as likely as it was. Applied after the grammar's mask. Bars that are written after the tracks
    belong to the tracks that hid them, in order.
    """

    def __init__(self, key: Key, vocabulary: Vocabulary, songs: int) -> None:
        pitches = np.arange(PITCHES) % 12
        favour = np.where(key.scale[pitches], _KEY_STRENGTH * np.log(key.weights[pitches]), -np.inf)
        self._favour = torch.from_numpy(favour)
        self._notes = slice(vocabulary.note_on, vocabulary.note_on + PITCHES)
        self._inst = vocabulary.inst
        self._hides = vocabulary.ids.get("FILL_IN", -1)
        self._fills = vocabulary.ids.get("FILL_START", -1)
        self._taken = 0
        self._instruments = [0] * songs
        self._hidden: list[list[int]] = [[] for _ in range(songs)]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Weigh scores [songs, vocabulary] of notes, and mask those outside the scale."""
        rows = input_ids[:, self._taken :].tolist()
        self._taken = input_ids.shape[1]
        for song, tokens in enumerate(rows):
            for token in tokens:
                if self._inst <= token < self._inst + INSTRUMENT_COUNT:
                    self._instruments[song] = token - self._inst
                elif token == self._hides:
                    self._hidden[song].append(self._instruments[song])
                elif token == self._fills and self._hidden[song]:
                    self._instruments[song] = self._hidden[song].pop(0)
        pitched = torch.tensor([code != DRUMS for code in self._instruments])
        favour = torch.where(pitched[:, None], self._favour[None], 0.0).to(scores)
        notes = scores[:, self._notes]
        weighed = notes + favour
        lost = notes.logsumexp(dim=1, keepdim=True) - weighed.logsumexp(dim=1, keepdim=True)
        masked = scores.clone()
        masked[:, self._notes] = weighed + lost.nan_to_num(nan=0.0, posinf=0.0)
        # Where no note of the scale is legal, as when all of them sound, the grammar's mask stays.
        possible = torch.isfinite(masked).any(dim=1, keepdim=True)
        return torch.where(possible, masked, scores)


class SongSampler:
    """Choose the next token of each song by the random numbers of that song.

    A song does not depend on its batch. `stage` tells apart the windows of a song that is made in
    several. With the `vocabulary` of music the kind of a token is drawn before the token within
    it; None draws from all tokens alike.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        sampling: SamplingParams,
        stage: int = 0,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        self._words = song_seeds(list(seeds), stage)
        self._sampling = sampling
        self._kinds = None if vocabulary is None else vocabulary.kinds
        self._durations = -1 if vocabulary is None else vocabulary.duration_kind
        self._chosen = np.empty(len(seeds), np.int64)

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the drawn tokens [songs], from ids [songs, t] and scores [songs, vocabulary]."""
        kinds = np.zeros(scores.shape[1], np.int64) if self._kinds is None else self._kinds
        sample_tokens(
            scores.cpu().numpy(),
            self._words,
            ids.shape[1],
            self._sampling,
            kinds,
            self._durations,
            self._chosen,
        )
        return torch.from_numpy(self._chosen).to(scores.device)


class TokenSampler:
    """A model that draws songs for a request, in its key, within the tokens it can hold.

    The token of each of `blends` gets the mean of the embeddings of all its labels. A model
    without structural inputs has no `steering`.
    """

    def __init__(
        self,
        model: GPT2LMHeadModel,
        vocabulary: Vocabulary,
        sampling: SamplingParams,
        key: Key | None = None,
        watch: Watch | None = None,
        blends: Sequence[Blend] = (),
        steering: Steering = NO_STEERING,
    ) -> None:
        self._reader = SongReader(model, vocabulary)
        self.max_tokens = self._reader.rows.seq_length
        self._model = model
        self._steering = steering
        self._vocabulary = vocabulary
        self._sampling = sampling
        self._key = key
        self._watch = watch
        self._blends = [blend for blend in blends if len(blend.tokens) > 1]

    def draw(
        self,
        constraint: Constraint,
        seeds: Sequence[int],
        stage: int = 0,
        places: PlaceArray | None = None,
        first_bar: int = 0,
    ) -> list[list[int]]:
        """Draw the tokens of a song for each seed, in one batch, each up to its PIECE_END.

        Songs begin with as many of their given tokens as the shortest has; the rest are forced.
        `places` [songs, 2] are the places in their pieces, as in `structural.model_inputs`;
        `first_bar` is passed on to callbacks.
        """
        vocabulary, device = self._vocabulary, self._model.device
        shared = min(map(len, constraint.given))
        start = torch.tensor([given[:shared] for given in constraint.given], device=device)
        masks: list[Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]
        masks = [GrammarProcessor(constraint, len(vocabulary))]
        if self._key is not None:
            masks.append(KeyProcessor(self._key, vocabulary, len(seeds)))
        sample = SongSampler(seeds, self._sampling, stage, vocabulary)

        def choose(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            for mask in masks:
                scores = mask(ids, scores)
            chosen = sample(ids, scores)
            if self._watch is not None:
                self._watch(first_bar, ids[0].tolist())
            return chosen

        self._reader.begin(len(seeds), places, self._steering)
        with _blended(self._model.transformer.wte, self._blends):
            end = vocabulary.piece_end
            rows = decode(self._reader.read, choose, start, [end], self.max_tokens)
        if any(row[-1] != end for row in rows):  # else the grammar sees to it
            raise CheckpointError("the model's outputs are not numbers; train it again, lr halved")
        return rows


@contextmanager
def _blended(table: torch.nn.Embedding, blends: Sequence[Blend]) -> Iterator[None]:
    """Embed the token of each blend as the mean of its labels' rows, weighted by their shares.

    The rows themselves stay: they also are what the model's outputs are compared with.
    """
    means: dict[int, torch.Tensor] = {}
    for blend in blends:
        rows = table.weight.detach()[list(blend.tokens)]
        means[blend.token] = rows.new_tensor(blend.shares) @ rows

    def mix(_: torch.nn.Module, arguments: tuple[torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
        for token, mean in means.items():
            rows = torch.where((arguments[0] == token)[..., None], mean, rows)
        return rows

    if not means:
        yield
        return
    handle = table.register_forward_hook(mix)
    try:
        yield
    finally:
        handle.remove()
