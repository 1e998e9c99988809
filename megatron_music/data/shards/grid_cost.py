"""Measure what the grid costs: how many notes it moves, how far, and whether a finer grid helps.

Also count the pieces with dynamics, which the default encoding leaves out. Both are measured on
some of the kept pieces, spread evenly over the source, after all pieces have been encoded.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from megatron_music.data.indexed import spread
from megatron_music.data.records import Refusal, is_kept
from megatron_music.data.sources.item import MIDI_SUFFIXES, Item, is_file
from megatron_music.errors import MidiError
from megatron_music.score.bar_layout import lay_out_bars
from megatron_music.score.notes import Score
from megatron_music.tokenizer.vocabulary import VELOCITIES, VELOCITY_LEVELS

FloatArray = npt.NDArray[np.float64]

MOST_PIECES = 200
GRIDS = (4, 12)
"""Steps a quarter note; every step of the first is one of the second."""

LEAST_QUARTERS = 1 / 48
"""A note that is moved by less is on the grid: a quarter of the finest step."""

_WORTH_SAYING, _MUCH_BETTER = 0.03, 0.5


@dataclass(frozen=True)
class GridCost:
    """How many of `notes` in `pieces` a grid moves, and by how many quarter notes on average.

    `moved` counts for the grid of the data set, `moved_finer` for the finest grid. In each of
    `dynamic_pieces` velocities of a track differ by a level of `VELOCITY_LEVELS[0]` or more.
    """

    pieces: int
    notes: int
    moved: int
    moved_finer: int
    mean_move_quarters: float
    dynamic_pieces: int = 0

    @property
    def suggests_finer(self) -> bool:
        """Whether many notes are moved, and the finest grid would move less than half of these."""
        much = self.moved > _WORTH_SAYING * self.notes
        return much and self.moved_finer < _MUCH_BETTER * self.moved

    def as_json(self) -> dict[str, Any]:
        """Return it as a manifest keeps it."""
        return {**asdict(self), "suggests_finer": self.suggests_finer}


def grid_cost(
    items: Sequence[Item], records: Path, steps_per_quarter: int, bars: int
) -> GridCost | None:
    """Measure the cost in some of the pieces kept, by the lines of `files.jsonl`; None for none.

    Only MIDI files are looked at: notation is written on the grid.
    """
    with records.open("rb") as lines:
        kept = [place for place, line in enumerate(lines) if is_kept(line)]
    files = [
        place
        for place in kept
        if is_file(item := items[place]) and item.name.lower().endswith(MIDI_SUFFIXES)
    ]
    scores = []
    for place in spread(len(files), MOST_PIECES):
        with suppress(Refusal, MidiError):  # it has changed since it was kept
            score, _ = lay_out_bars(items[files[place]].read(), bars)
            if score.tracks:
                scores.append(score)
    if not scores:
        return None
    own, finer = (
        np.concatenate([_moves(score, steps) for score in scores])
        for steps in (steps_per_quarter, GRIDS[-1])
    )
    moved = own > LEAST_QUARTERS
    # Velocities within one level of the coarsest tokens do not count as dynamics.
    width = VELOCITIES // VELOCITY_LEVELS[0]
    return GridCost(
        pieces=len(scores),
        notes=len(own),
        moved=int(moved.sum()),
        moved_finer=int((finer > LEAST_QUARTERS).sum()),
        mean_move_quarters=round(float(own[moved].mean()), 4) if moved.any() else 0.0,
        dynamic_pieces=sum(
            any(np.ptp(track.velocity // width) > 0 for track in score.tracks if len(track))
            for score in scores
        ),
    )


def off_grid_share(score: Score, steps_per_quarter: int) -> float:
    """Return the share of the notes of a score that a grid moves."""
    return float((_moves(score, steps_per_quarter) > LEAST_QUARTERS).mean())


def _moves(score: Score, steps_per_quarter: int) -> FloatArray:
    """Return by how many quarters a grid moves each onset."""
    onset = np.concatenate([track.onset for track in score.tracks]) / score.ticks_per_quarter
    moved: FloatArray = np.abs(onset - np.round(onset * steps_per_quarter) / steps_per_quarter)
    return moved
