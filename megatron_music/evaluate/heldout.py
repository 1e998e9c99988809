"""The loss of a model on held-out music, and how well it knows the grammar without a mask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from transformers import GPT2LMHeadModel

from megatron_music.errors import TokenError
from megatron_music.evaluate.bootstrap import Estimate, FloatArray, ratio, share
from megatron_music.evaluate.corpus import SplitWindows
from megatron_music.evaluate.voices import CELLS_PER_BAR
from megatron_music.generate.composer import Composer
from megatron_music.generate.decoding import decode
from megatron_music.generate.structural import SongReader, model_inputs, rows_of
from megatron_music.progress import Progress, Stage, silent
from megatron_music.score.notes import IntArray
from megatron_music.tokenizer.grammar import Walker, legal_masks
from megatron_music.tokenizer.places_in_piece import UNKNOWN, Places
from megatron_music.tokenizer.vocabulary import TokenArray, Vocabulary

BoolArray = npt.NDArray[np.bool_]
NOTE_ON, SYLLABLE = "NOTE_ON", "SYLLABLE"
WHOLE, BROKEN, UNFINISHED = "whole", "broken", "unfinished"

BATCH = 16


@dataclass(frozen=True)
class WindowLosses:
    """The model's probabilities on one window; all columns [tokens - 1].

    Element i belongs to token i + 1. `nats` is its surprise; `illegal` the probability that the
    model gave to tokens which the grammar forbids there; `tops_illegal` marks where the likeliest
    token of all was a forbidden one. `left_out` counts tokens beyond the model's context.
    """

    targets: TokenArray
    nats: FloatArray
    illegal: FloatArray
    tops_illegal: BoolArray
    left_out: int


@dataclass(frozen=True)
class HeldOut:
    """The losses of a model on one split, and its probability of illegal tokens.

    `per_token_masked` is the cost when illegal tokens are forbidden. `per_cell` and
    `per_cell_masked` share all nats of a window among its cells: one voice in one sixteenth,
    voices that are silent in a window included; they are None for music without voices.
    `per_syllable` is the cost of the SYLLABLE tokens of a syllable; None where nothing is sung.
    `by_kind` holds nats a token for each kind of token; `illegal_tops` is the share of steps whose
    likeliest token is illegal, `illegal_mass` the mean probability of all illegal tokens,
    `illegal_by_kind` the same at tokens of each kind.
    """

    windows: int
    pieces: int
    tokens: int
    notes: int
    left_out_tokens: int
    per_token: Estimate
    per_token_masked: Estimate
    per_note: Estimate
    per_syllable: Estimate | None
    per_cell: Estimate | None
    per_cell_masked: Estimate | None
    by_kind: dict[str, Estimate]
    illegal_tops: Estimate
    illegal_mass: Estimate
    illegal_by_kind: dict[str, Estimate]


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


def evaluate_losses(
    composer: Composer, splits: Mapping[str, SplitWindows], stage: Stage
) -> dict[str, HeldOut]:
    """Read held-out splits, and sum up each that has windows."""
    model, vocabulary = composer.model, composer.vocabulary
    losses = {}
    for name, split in splits.items():
        if not len(split):
            continue
        with stage(f"read {name}", "windows") as progress:
            readings = read(model, vocabulary, split.tokens, split.places, progress)
        losses[name] = summarize(readings, split.groups, vocabulary)
    return losses


def read(
    model: GPT2LMHeadModel,
    vocabulary: Vocabulary,
    documents: Sequence[TokenArray],
    places: Places | None = None,
    progress: Progress = silent,
) -> list[WindowLosses]:
    """Read windows as in training, each by itself from its PIECE_START, without any mask.

    `places` [windows, 2] are each window's position in its piece, for models that use it, as in
    `tokenizer.places_in_piece`; None leaves it unknown.
    """
    readings = []
    if places is None:
        places = np.full((len(documents), 2), UNKNOWN, np.int32)
    progress(0, len(documents))
    for done, (tokens, place) in enumerate(zip(documents, places, strict=True), 1):
        readings.append(_read_one(model, vocabulary, tokens, place))
        progress(done, len(documents))
    return readings


@torch.inference_mode()
def _read_one(
    model: GPT2LMHeadModel, vocabulary: Vocabulary, tokens: TokenArray, place: Places
) -> WindowLosses:
    context = rows_of(model.config, vocabulary).seq_length + 1  # the last token is only a target
    kept = tokens[:context]
    ids = torch.from_numpy(kept.astype(np.int64)).to(model.device)
    arguments = model_inputs(model, vocabulary, ids[None, :-1], place)
    # In fp64: the mass of illegal tokens is a sum of many small probabilities.
    logits = model(**arguments).logits[0, :, : len(vocabulary)].double()
    logs = logits.log_softmax(-1).cpu().numpy()
    legal = legal_masks(kept, vocabulary)
    targets = kept[1:]
    top = logs.argmax(-1)
    rows = np.arange(len(targets))
    return WindowLosses(
        targets=targets,
        nats=-logs[rows, targets],
        illegal=np.where(legal, 0.0, np.exp(logs)).sum(-1),
        tops_illegal=~legal[rows, top],
        left_out=len(tokens) - len(kept),
    )


def kinds_of(targets: TokenArray, vocabulary: Vocabulary) -> list[str]:
    """Return the kind of each token, such as NOTE_ON; bars, tracks and the like are `mark`."""
    return [vocabulary.meanings[token][0].value for token in targets.tolist()]


def summarize(
    readings: Sequence[WindowLosses], groups: IntArray, vocabulary: Vocabulary
) -> HeldOut:
    """Sum up readings; `groups` [n] says which piece each window comes from."""
    kinds = [np.array(kinds_of(reading.targets, vocabulary)) for reading in readings]
    tokens = np.array([len(reading.nats) for reading in readings], np.float64)
    notes = np.array([(kind == NOTE_ON).sum() for kind in kinds], np.float64)
    nats = np.array([reading.nats.sum() for reading in readings])
    # Forbidding illegal tokens divides the other probabilities by 1 - illegal, which adds
    # log(1 - illegal) to the nats of a token. Clipped, as a model may give them everything.
    saved = np.array([np.log1p(-np.minimum(r.illegal, 1 - 1e-12)).sum() for r in readings])
    tops = np.array([reading.tops_illegal.sum() for reading in readings], np.float64)
    illegal = np.array([reading.illegal.sum() for reading in readings])
    cells = cells_in(readings, vocabulary)
    present = [
        kind
        for kind in dict.fromkeys(kind.value for kind, _ in vocabulary.meanings)
        if any((k == kind).any() for k in kinds)
    ]
    return HeldOut(
        windows=len(readings),
        pieces=len(np.unique(groups)),
        tokens=int(tokens.sum()),
        notes=int(notes.sum()),
        left_out_tokens=sum(reading.left_out for reading in readings),
        per_token=ratio(nats, tokens, groups),
        per_token_masked=ratio(nats + saved, tokens, groups),
        per_note=ratio(nats, notes, groups),
        per_syllable=_per_syllable([r.nats for r in readings], kinds, groups),
        per_cell=_a_cell(nats, cells, groups),
        per_cell_masked=_a_cell(nats + saved, cells, groups),
        by_kind=_by_kind([r.nats for r in readings], kinds, present, groups),
        illegal_tops=ratio(tops, tokens, groups),
        illegal_mass=ratio(illegal, tokens, groups),
        illegal_by_kind=_by_kind([r.illegal for r in readings], kinds, present, groups),
    )


def _per_syllable(
    nats: Sequence[FloatArray],
    kinds: Sequence["np.ndarray[tuple[int], np.dtype[np.str_]]"],
    groups: IntArray,
) -> Estimate | None:
    """Estimate nats a syllable: of all its tokens; None where there is none."""
    sung = [kind == SYLLABLE for kind in kinds]
    # A syllable begins where the token before is of another kind: its NOTE_ON.
    begins = np.array([(one[1:] & ~one[:-1]).sum() for one in sung], np.float64)
    if not begins.any():
        return None
    costs = np.array([of[one].sum() for of, one in zip(nats, sung, strict=True)])
    return ratio(costs, begins, groups)


def cells_in(readings: Sequence[WindowLosses], vocabulary: Vocabulary) -> IntArray:
    """Return the cells of each window: voices times sixteenths; 0 where there are no voices.

    Windows that do not fit into the model's context count no cells.
    """
    voices, bar_ends = len(vocabulary.settings.voices), vocabulary.bar_end
    # All tracks of a window have all of its bars.
    bars = [
        0
        if reading.left_out
        else np.count_nonzero(reading.targets == bar_ends)
        // np.count_nonzero(reading.targets == vocabulary.track_start)
        for reading in readings
    ]
    return np.array(bars, np.int64) * voices * CELLS_PER_BAR


def _a_cell(nats: FloatArray, cells: IntArray, groups: IntArray) -> Estimate | None:
    """Estimate nats a cell over the windows that have any; None where none has."""
    counted = cells > 0
    if not counted.any():
        return None
    return ratio(nats[counted], cells[counted].astype(np.float64), groups[counted])


def _by_kind(
    values: Sequence[FloatArray],
    kinds: Sequence["np.ndarray[tuple[int], np.dtype[np.str_]]"],
    names: Sequence[str],
    groups: IntArray,
) -> dict[str, Estimate]:
    """Estimate the mean value of the tokens of each kind."""
    marks = {name: [kind == name for kind in kinds] for name in names}
    return {
        name: ratio(
            np.array([value[mark].sum() for value, mark in zip(values, of_kind, strict=True)]),
            np.array([mark.sum() for mark in of_kind], np.float64),
            groups,
        )
        for name, of_kind in marks.items()
    }


def whole_share(free: Sequence[UnconstrainedSample]) -> Estimate:
    """Estimate the share of samples without a mask that are legal from beginning to end."""
    return share(sum(sample.outcome == "whole" for sample in free), len(free))


def sample_unconstrained(
    composer: Composer, count: int, seed: int, progress: Progress = silent
) -> list[UnconstrainedSample]:
    """Draw `count` pieces at temperature 1 from all tokens, with neither mask nor truncation.

    A model with structural inputs gets them, but for the place in the piece.
    """
    model, vocabulary = composer.model, composer.vocabulary
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
