"""How windows of whole pieces are drawn, as the kernels take it; `windows.py` has the windows.

What is drawn (the first barline, the key, the order of tracks, hidden bars, shifts of tempo and
velocity) follows from `draw.word` and the place of a window alone.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.errors import DataError
from megatron_music.tokenizer.token_kinds import token_table
from megatron_music.tokenizer.vocabulary import (
    TokenArray,
    TokenizerSettings,
    vocabulary_of,
)

IntArray = npt.NDArray[np.int64]

ALL_TRACKS = 1 << 16
"""More tracks than any piece has."""
WHOLE = 1 << 40
"""More tokens than any window has: so that none is shortened."""


class Documents(NamedTuple):
    """Documents of a `.bin/.idx` pair: document i is `lengths[i]` tokens from `starts[i]` on."""

    tokens: TokenArray
    starts: IntArray
    lengths: npt.NDArray[np.int32]


class Draw(NamedTuple):
    """How windows are drawn; every draw depends on `word` and the window's place alone.

    With `shuffle` tracks are in a random order; the first `most_tracks` stay. Of a share of
    `dropped` windows one of these is left out, if others remain. A key is one of `shifts`
    semitones, from `lowest_shift` on, that leave all pitches in 0..127. A share of `hidden` windows
    hides bars. All TEMPO tokens of a window move by the same number of levels, at most
    `tempo_levels` up or down, that leaves each a level there is; VELOCITY likewise.
    """

    word: np.uint64
    shuffle: bool
    most_tracks: int
    dropped: float
    lowest_shift: int
    shifts: int
    hidden: float
    tempo_levels: int
    velocity_levels: int


class Window(NamedTuple):
    """A window: `bars` bars of a document from `first_bar` on, of at most `most_tracks` tracks.

    `place` counts the bars of all documents before the window; the random words follow from it.
    `hides` is 1 where some bars are hidden. `tokens` is its number of tokens.
    """

    document: int
    place: int
    first_bar: int
    bars: int
    most_tracks: int
    hides: int
    tokens: int


class WindowTables(NamedTuple):
    """A vocabulary as the kernels take it; a mark such as BAR_START has its kind as its id.

    `kinds` and `values` [vocabulary] are those of `token_kinds`. `bar_steps` are the lengths of
    bars by the value of METRE. There are `tempo_levels` and `velocity_levels`, 0 without such
    tokens. `note_off`, `time_delta` and `density` are the ids of value 0.
    """

    kinds: npt.NDArray[np.int8]
    values: npt.NDArray[np.int32]
    bar_steps: npt.NDArray[np.int32]
    tempo_levels: int
    velocity_levels: int
    note_off: int
    time_delta: int
    density: int
    density_edges: npt.NDArray[np.float64]


def documents_of(
    tokens: npt.NDArray[np.generic], starts: IntArray, lengths: npt.NDArray[np.int32]
) -> Documents:
    """Return documents as the kernels take them: of uint16, read only, as a memory map is."""
    if tokens.dtype != np.uint16:
        raise DataError(
            f"the tokens of pieces are {tokens.dtype}, expected uint16; build them again"
        )
    view = np.asarray(tokens).view()
    # numba compiles a read-only array apart: with writable ones the kernels would be compiled
    # twice.
    view.flags.writeable = False
    return Documents(view, np.asarray(starts, np.int64), np.asarray(lengths, np.int32))


def fixed_draw(*, fill: bool = False, shuffle: bool = True, max_tracks: int | None = None) -> Draw:
    """Return what windows for validation are drawn with: in their own key, all tracks."""
    return new_draw(0, range(1), shuffle=shuffle, max_tracks=max_tracks, hidden=0.5 * fill)


def new_draw(
    word: int,
    shifts: range,
    *,
    shuffle: bool = True,
    max_tracks: int | None = None,
    hidden: float = 0.0,
    dropped: float = 0.0,
    tempo_levels: int = 0,
    velocity_levels: int = 0,
) -> Draw:
    """Return how windows are drawn, see `Draw`; None keeps all tracks."""
    return Draw(
        np.uint64(word),
        shuffle,
        ALL_TRACKS if max_tracks is None else max_tracks,
        float(dropped),
        shifts.start,
        len(shifts),
        float(hidden),
        tempo_levels,
        velocity_levels,
    )


@lru_cache(maxsize=4)
def window_tables(settings: TokenizerSettings) -> WindowTables:
    """Return what the kernels have to know of a vocabulary."""
    vocabulary = vocabulary_of(settings)
    table = token_table(vocabulary)
    return WindowTables(
        # Narrow, so that they stay in the cache of a core.
        table.kinds.astype(np.int8),
        table.values.astype(np.int32),
        np.array(vocabulary.bar_steps, np.int32),
        tempo_levels=len(vocabulary.tempi),
        velocity_levels=settings.velocity,
        note_off=vocabulary.note_off,
        time_delta=vocabulary.time_delta,
        density=vocabulary.density,
        density_edges=np.array(settings.density_edges, np.float64),
    )
