"""The readings of held-out windows summed up: nats a token and a note, and unmasked mistakes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from megatron_music.evaluate.bootstrap import Estimate, ratio
from megatron_music.evaluate.loss import FloatArray, Reading, kinds_of
from megatron_music.evaluate.voices import CELLS_PER_BAR, voices_of
from megatron_music.score.notes import IntArray
from megatron_music.tokenizer.vocabulary import Vocabulary

NOTE_ON = "NOTE_ON"


@dataclass(frozen=True)
class HeldOut:
    """What one side of a data set costs a model, and how it keeps the grammar without a mask.

    `per_token_masked` is the cost when illegal tokens are forbidden. `per_cell` and
    `per_cell_masked` share all nats of a window among its cells: one voice in one sixteenth,
    voices that are silent in a window included; they are None for music without voices.
    `by_kind` holds nats a token for each kind of token; `illegal_tops` is the share of steps whose
    likeliest token is illegal, `illegal_mass` the mean probability of all illegal tokens,
    `illegal_by_kind` the same where a token of each kind stands.
    """

    windows: int
    pieces: int
    tokens: int
    notes: int
    left_out_tokens: int
    per_token: Estimate
    per_token_masked: Estimate
    per_note: Estimate
    per_cell: Estimate | None
    per_cell_masked: Estimate | None
    by_kind: dict[str, Estimate]
    illegal_tops: Estimate
    illegal_mass: Estimate
    illegal_by_kind: dict[str, Estimate]


def summarise(readings: Sequence[Reading], groups: IntArray, vocabulary: Vocabulary) -> HeldOut:
    """Sum up readings; `groups` [n] says which piece each window comes from."""
    kinds = [np.array(kinds_of(reading.targets, vocabulary)) for reading in readings]
    tokens = np.array([len(reading.nats) for reading in readings], np.float64)
    notes = np.array([(kind == NOTE_ON).sum() for kind in kinds], np.float64)
    nats = np.array([reading.nats.sum() for reading in readings])
    saved = np.array([np.log1p(-np.minimum(r.illegal, 1 - 1e-12)).sum() for r in readings])
    tops = np.array([reading.tops_illegal.sum() for reading in readings], np.float64)
    illegal = np.array([reading.illegal.sum() for reading in readings])
    cells = cells_in(readings, vocabulary)
    present = [kind for kind in _kinds(vocabulary) if any((k == kind).any() for k in kinds)]
    return HeldOut(
        windows=len(readings),
        pieces=len(np.unique(groups)),
        tokens=int(tokens.sum()),
        notes=int(notes.sum()),
        left_out_tokens=sum(reading.left_out for reading in readings),
        per_token=ratio(nats, tokens, groups),
        per_token_masked=ratio(nats + saved, tokens, groups),
        per_note=ratio(nats, notes, groups),
        per_cell=_a_cell(nats, cells, groups),
        per_cell_masked=_a_cell(nats + saved, cells, groups),
        by_kind=_by_kind([r.nats for r in readings], kinds, present, groups),
        illegal_tops=ratio(tops, tokens, groups),
        illegal_mass=ratio(illegal, tokens, groups),
        illegal_by_kind=_by_kind([r.illegal for r in readings], kinds, present, groups),
    )


def cells_in(readings: Sequence[Reading], vocabulary: Vocabulary) -> IntArray:
    """Return the cells of each window: voices times sixteenths; 0 where there are no voices.

    Windows that do not fit into the model's context count no cells.
    """
    voices, bar_ends = len(voices_of(vocabulary.settings)), vocabulary.bar_end
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


def _kinds(vocabulary: Vocabulary) -> list[str]:
    return list(dict.fromkeys(kind.value for kind, _ in vocabulary.meanings))


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
