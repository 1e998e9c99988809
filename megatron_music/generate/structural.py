"""Models with structural inputs: which arguments a plain GPT-2 takes, and how it composes.

The weights are those of a plain `GPT2LMHeadModel`. Its `config.json` names the inputs, and the
rows of its position table hold them; see `tokenizer.structure`.
"""

import numpy as np
import torch
from torch.nn.functional import embedding_bag
from transformers import GPT2Config, GPT2LMHeadModel

from megatron_music.errors import CheckpointError, UsageError
from megatron_music.generate.decoding import CachedGPT2
from megatron_music.generate.sampling_params import (
    MOST_STEERING,
    NO_STEERING,
    USUAL_MIN_P,
    Steering,
)
from megatron_music.tokenizer.structure import PlaceArray, PositionRows, RowArray, position_rows
from megatron_music.tokenizer.structure_tracker import StructureTracker
from megatron_music.tokenizer.vocabulary import PITCHES, Vocabulary


def rows_of(config: GPT2Config, vocabulary: Vocabulary) -> PositionRows:
    """Return the rows of a model's position table; raises CheckpointError where they do not fit.

    A plain GPT-2 has a row for each index.
    """
    inputs = getattr(config, "structural_inputs", None) or ()
    positions = int(config.n_positions)
    seq_length = getattr(config, "seq_length", 0) if inputs else positions
    named = isinstance(inputs, list | tuple) and all(isinstance(name, str) for name in inputs)
    if not named or type(seq_length) is not int or not 0 < seq_length <= positions:
        raise CheckpointError(
            f"config.json has structural_inputs={inputs!r} and seq_length={seq_length!r}; "
            "expected a list of names and a number of tokens: export the run again"
        )
    try:
        rows = position_rows(inputs, seq_length, vocabulary)
    except UsageError as fault:
        raise CheckpointError(f"{fault}; export the run again, or update this tool") from None
    if rows.total != positions:
        raise CheckpointError(
            f"config.json has n_positions={positions}, but its structural inputs take "
            f"{rows.total} rows; export the run again"
        )
    return rows


_SAMPLING_DEFAULTS: dict[str, tuple[float, float]] = {
    "min_p": (USUAL_MIN_P, 1),
    **dict.fromkeys(Steering._fields, (0.0, MOST_STEERING)),
}
"""The sampling options that config.json may hold: the usual value and the highest."""


def sampling_defaults(config: GPT2Config) -> dict[str, float]:
    """Return the sampling options of a model's config.json; raises CheckpointError for a wrong one.

    Folders that were exported before there were such options have none, and compose as they did.
    """
    found = {}
    for name, (usual, most) in _SAMPLING_DEFAULTS.items():
        value = getattr(config, name, usual)
        if not isinstance(value, int | float) or not 0 <= value <= most:
            raise CheckpointError(
                f"config.json has {name}={value!r}; expected 0..{most}: export the run again"
            )
        found[name] = float(value)
    return found


def model_inputs(
    model: GPT2LMHeadModel,
    vocabulary: Vocabulary,
    ids: torch.Tensor,
    places: PlaceArray | tuple[int, int] | None = None,
) -> dict[str, torch.Tensor]:
    """Return the arguments that a plain `GPT2LMHeadModel` takes for token ids [songs, tokens].

    Each song is one document from its PIECE_START, without padding. `places` are the bars of the
    piece before the song's first bar and the bars of the whole piece, for each song or for all;
    -1 where unknown. Raises CheckpointError where model and vocabulary do not fit.
    """
    rows = rows_of(model.config, vocabulary)
    known = None if places is None else np.asarray(places)
    tracker = StructureTracker(rows, vocabulary, len(ids), known)
    listed = tracker.advance(ids.cpu().numpy())
    embeds, positions = _embeds_and_positions(model, _with_zero_row(model), ids, listed)
    return {
        "inputs_embeds": embeds,
        "position_ids": positions,
        "attention_mask": torch.ones_like(ids),
    }


def _with_zero_row(model: GPT2LMHeadModel) -> torch.Tensor:
    """Return the position table with a row of zeros, by which lists of rows are padded."""
    weight = model.transformer.wpe.weight
    # Tokens have different numbers of rows; lists of one length are filled up with this one.
    return torch.cat([weight, weight.new_zeros(1, weight.shape[1])])


def _embeds_and_positions(
    model: GPT2LMHeadModel, table: torch.Tensor, ids: torch.Tensor, rows: RowArray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return embeddings and positions: a token's first row is its position, the rest is added."""
    listed = torch.from_numpy(rows).to(ids.device)
    embeds: torch.Tensor = model.transformer.wte(ids)
    if listed.shape[2] > 1:
        # Without position rows: the model looks those up by itself, from the positions.
        others = listed[..., 1:].flatten(0, 1)
        embeds = embeds + embedding_bag(others, table, mode="sum").view_as(embeds)
    return embeds, listed[..., 0].long()


class SongReader:
    """A GPT-2 that reads songs as they are composed, with their structural inputs if it has any.

    `begin` has to be called before the first token of a batch of songs.
    """

    _cached: CachedGPT2
    _tracker: StructureTracker
    _steering: Steering

    def __init__(self, model: GPT2LMHeadModel, vocabulary: Vocabulary) -> None:
        self.rows = rows_of(model.config, vocabulary)
        self._model = model
        self._vocabulary = vocabulary
        self._table = _with_zero_row(model).detach()

    def begin(
        self, songs: int, places: PlaceArray | None = None, steering: Steering = NO_STEERING
    ) -> None:
        """Get ready for songs that have not begun; `places` as in `model_inputs`.

        With guidance the model reads each song twice, the second time as bare ids, and the cache
        holds both. What the inputs add to the logits of pitches then counts 1 + guidance times:
        classifier-free guidance (Ho and Salimans, 2022).
        """
        self._tracker = StructureTracker(self.rows, self._vocabulary, songs, places)
        self._cached = CachedGPT2(self._model, songs * (2 if steering.guidance else 1))
        self._steering = steering

    def read(self, ids: torch.Tensor) -> torch.Tensor:
        """Read the songs' next tokens [songs, any number]; return logits [songs, vocabulary]."""
        rows = self._tracker.advance(ids.cpu().numpy())
        embeds, positions = _embeds_and_positions(self._model, self._table, ids, rows)
        # `CachedGPT2` takes the sum of token and position rows, unlike `GPT2LMHeadModel`.
        embeds = embeds + self._model.transformer.wpe.weight[positions]
        if self._steering.guidance:
            embeds = torch.cat([embeds, self._cached.embed(ids)])
        logits = self._cached.read(embeds)
        if any(self._steering):
            return self._steer(logits[: len(ids)], logits[len(ids) :], rows[:, -1])
        return logits

    def _steer(self, logits: torch.Tensor, bare: torch.Tensor, rows: RowArray) -> torch.Tensor:
        """Return logits [songs, vocabulary] after guidance and penalty; `rows` [songs, most].

        How likely it is that any note begins stays. The model needs no help with time and rests:
        with all tokens guided, notes become too long.
        """
        first = self._vocabulary.note_on
        pitches = slice(first, first + PITCHES)
        plain = logits[:, pitches]
        steered = plain.clone()
        if self._steering.guidance:
            steered += self._steering.guidance * (plain - bare[:, pitches])
        if self._steering.parallel_penalty:
            # The rows of fifths and those of octaves follow one another.
            moves = rows - self.rows.fifths
            songs, places = np.nonzero((moves >= 0) & (moves < 2 * PITCHES))
            parallel = moves[songs, places] % PITCHES
            # Assigned, not added up: a pitch may be a fifth to one voice and an octave to another.
            penalty = torch.zeros_like(plain)
            penalty[songs, parallel] = self._steering.parallel_penalty
            steered -= penalty
        mass = torch.logsumexp(plain, -1, keepdim=True)
        logits[:, pitches] = steered - torch.logsumexp(steered, -1, keepdim=True) + mass
        return logits
