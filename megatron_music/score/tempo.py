"""Tempi: which ones there are tokens for, and which of them a tempo is nearest to.

A MIDI file gives a tempo as the microseconds of a quarter note; so do scores and pieces.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from megatron_music.score.midi_columns import US_PER_MINUTE
from megatron_music.score.notes import DEFAULT_QUARTER_US, IntArray, Tempo

SLOWEST_BPM, FASTEST_BPM = 4, 1000
"""A file's tempo beyond these is damage: the default replaces it."""

STEPS_AN_OCTAVE = 9
"""Tempi between one and its double: neighbours are 8 % apart."""

TEMPI_BPM: tuple[int, ...] = tuple(
    round(US_PER_MINUTE / DEFAULT_QUARTER_US * 2 ** (step / STEPS_AN_OCTAVE))
    for step in range(-20, 12)
)
"""Quarter notes a minute that there are TEMPO tokens for: 26 to 280, 60, 120 and 240 among them."""

TEMPI_US: tuple[int, ...] = tuple(round(US_PER_MINUTE / bpm) for bpm in TEMPI_BPM)
"""The same as microseconds of a quarter note."""

TEMPO_EDGES_US: IntArray = np.array(
    [round(US_PER_MINUTE / math.sqrt(low * high)) for low, high in pairwise(TEMPI_BPM)], np.int64
)
"""Where one tempo ends and the next, faster one begins."""


def usual_us(quarter_us: int) -> int:
    """Return a tempo, or the default where it is none that music has."""
    usual = quarter_us * FASTEST_BPM >= US_PER_MINUTE and quarter_us * SLOWEST_BPM <= US_PER_MINUTE
    return quarter_us if usual else DEFAULT_QUARTER_US


def nearest_tempi(quarters_us: Sequence[int]) -> IntArray:
    """Return for each tempo the place of the nearest one in `TEMPI_BPM`."""
    quarters = np.array(quarters_us, np.int64).reshape(-1, 1)
    # Edges descend: the shorter a quarter, the more of them are above it.
    nearest: IntArray = (quarters < TEMPO_EDGES_US).sum(axis=1, dtype=np.int64)
    return nearest


def tempos_at(ticks: IntArray, tempos: Sequence[Tempo]) -> list[int]:
    """Return which tempo holds at each tick; the first one holds before it, too."""
    begins = np.array([tempo.onset_ticks for tempo in tempos], np.int64)
    places = np.maximum(np.searchsorted(begins, ticks, side="right") - 1, 0)
    return [tempos[place].quarter_us for place in places.tolist()]
