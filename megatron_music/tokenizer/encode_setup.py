"""What the compiled encoder gets: a plan, and room to work in."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.score.bar_layout_kernel import Layout, Metres, new_layout, new_metres
from megatron_music.score.grid_kernel import (
    BAR_BITS,
    MOST_BAR_BITS,
    MOST_BARS,
    Grid,
    new_grid,
)
from megatron_music.score.midi_columns import MOST_TRACKS
from megatron_music.score.tempo_kernel import Tempos, new_tempos
from megatron_music.tokenizer.vocabulary import Ids, Vocabulary

Cells = npt.NDArray[np.int32]
Words = npt.NDArray[np.uint64]

MOST_WINDOW_BARS = 64
WORD_BITS, PITCH_BITS = 6, 7


class EncodePlan(NamedTuple):
    """The settings of an encoder, as numbers.

    Windows of `bars` bars begin every `hop` bars, in stretches of `shortest` bars.
    `lowest_shift` and `shifts` give the keys, in semitones, of pieces for training: those whose
    fingerprint begins with a word of at most `last_training`; the others stay as they are.
    """

    steps_per_quarter: int
    bars: int
    hop: int
    shortest: int
    voices: bool
    merge: bool
    shuffle: bool
    seed: np.uint64
    most_tracks: int
    lowest_shift: int
    shifts: int
    last_training: np.uint64


class Scratch(NamedTuple):
    """Memory for one window: `moments` and `masks` are words of bits, 0 between tracks.

    `levels` has the level of velocity of each pitch that begins at a moment, if there are any.
    """

    lows: Cells
    highs: Cells
    order: Cells
    keys: Words
    moments: Words
    masks: Words
    levels: npt.NDArray[np.uint8]


def new_scratch(bar_bits: int, bars: int, velocities: int) -> Scratch:
    """Return memory for one window of `bars` bars, or of as many as a piece can have.

    `velocities` is the number of levels of velocity.
    """
    bars = min(max(bars, MOST_WINDOW_BARS), MOST_BARS + 2)
    # Bits are 0 at first, and the kernels clear those that they have read.
    return Scratch(
        lows=np.empty(MOST_TRACKS, np.int32),
        highs=np.empty(MOST_TRACKS, np.int32),
        order=np.empty(MOST_TRACKS, np.int32),
        keys=np.empty(MOST_TRACKS, np.uint64),
        moments=np.zeros(bars << bar_bits >> WORD_BITS, np.uint64),
        masks=np.zeros(bars << bar_bits << 2, np.uint64),
        levels=np.zeros(bars << bar_bits << PITCH_BITS if velocities else 0, np.uint8),
    )


class Setup(NamedTuple):
    """What stays the same from piece to piece, and room to work in.

    `edges` are the vocabulary's density edges. Its `metres` have tokens where `has_metres`; the
    bars of a piece are in `layout`, and their tempi in `tempos`, which have tokens where
    `has_tempos`. There are `velocities` levels of velocity, 0 where these have no tokens.
    `used` counts the tokens, documents and tracks that have been written.
    """

    plan: EncodePlan
    ids: Ids
    has_density: bool
    has_metres: bool
    has_tempos: bool
    velocities: int
    edges: npt.NDArray[np.float64]
    metres: Metres
    bar_bits: int
    layout: Layout
    tempos: Tempos
    grid: Grid
    room: Scratch
    used: npt.NDArray[np.int64]


def new_setup(vocabulary: Vocabulary, plan: EncodePlan) -> Setup:
    """Return the setup of encoding by a plan into a vocabulary."""
    settings = vocabulary.settings
    bar_bits = BAR_BITS if vocabulary.longest_bar < 1 << BAR_BITS else MOST_BAR_BITS
    return Setup(
        plan,
        vocabulary.numbers,
        has_density=settings.density,
        has_metres=vocabulary.has_metres,
        has_tempos=vocabulary.has_tempos,
        velocities=settings.velocity,
        edges=np.array(settings.density_edges, np.float64),
        metres=new_metres(vocabulary.metres),
        bar_bits=bar_bits,
        layout=new_layout(),
        tempos=new_tempos(),
        grid=new_grid(has_velocities=vocabulary.has_velocities),
        room=new_scratch(bar_bits, plan.bars, settings.velocity),
        used=np.zeros(3, np.int64),
    )
