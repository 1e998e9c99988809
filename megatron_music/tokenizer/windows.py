"""Windows of whole pieces: which there are, and their tokens.

    windows = plan(pieces, draw, bars=8, most_tokens=1024, moves=True, vocabulary=vocabulary)
    tokens = windows.read(0)

What is drawn (the first barline, the key, the order of tracks, hidden bars, shifts of tempo and
velocity) follows from `draw.word` and the place of a window alone.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.errors import DataError
from megatron_music.tokenizer.vocabulary import (
    Kind,
    TokenArray,
    TokenizerSettings,
    Vocabulary,
    vocabulary_of,
)

if TYPE_CHECKING:
    from megatron_music.tokenizer.window_index_kernel import Rules
    from megatron_music.tokenizer.window_kernel import Draw

IntArray = npt.NDArray[np.int64]

MOST_TRACKS = 1 << 16
WHOLE = 1 << 40
"""More tokens than any window has: so that none is shortened."""

_STATES = ("METRE", "TEMPO")
"""The kinds of tokens that hold until the next of their kind; at the head and before bars."""


class Documents(NamedTuple):
    """Documents of a `.bin/.idx` pair: document i is `lengths[i]` tokens from `starts[i]` on."""

    tokens: TokenArray
    starts: IntArray
    lengths: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Windows:
    """The windows of some documents: a row of `rows` each, see `window_plan_kernel`.

    `left_out_bars` are bars of which not even one track fits.
    """

    documents: Documents
    rows: IntArray
    left_out_bars: int
    draw: "Draw"
    vocabulary: Vocabulary

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def sizes(self) -> IntArray:
        """The tokens of each window."""
        from megatron_music.tokenizer.window_plan_kernel import SIZE

        return self.rows[:, SIZE]

    @property
    def sources(self) -> IntArray:
        """The document and the first bar of each window [windows, 2]."""
        from megatron_music.tokenizer.window_plan_kernel import DOCUMENT, FIRST

        return self.rows[:, [DOCUMENT, FIRST]]

    def read(self, window: int) -> TokenArray:
        """Return the tokens of a window."""
        from megatron_music.tokenizer.window_plan_kernel import read_window

        row = self.rows[window]
        document = int(row[0])
        start = int(self.documents.starts[document])
        end = start + int(self.documents.lengths[document])
        rules = rules_of(self.vocabulary.settings)
        return read_window(self.documents.tokens, start, end, self.draw, row, rules)


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


def fixed_draw(
    *, fill: bool = False, shuffle: bool = True, max_tracks: int | None = None
) -> "Draw":
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
) -> "Draw":
    """Return how windows are drawn: see `window_kernel.Draw`."""
    from megatron_music.tokenizer.window_kernel import Draw

    return Draw(
        np.uint64(word),
        shuffle,
        MOST_TRACKS if max_tracks is None else max_tracks,
        float(dropped),
        shifts.start,
        len(shifts),
        float(hidden),
        tempo_levels,
        velocity_levels,
    )


def plan(
    documents: Documents,
    draw: "Draw",
    bars: int,
    most_tokens: int,
    vocabulary: Vocabulary,
    *,
    moves: bool,
) -> Windows:
    """Return the windows of an epoch; raises DataError for a document that is not a piece."""
    from megatron_music.tokenizer.window_plan_kernel import plan_windows

    rules = rules_of(vocabulary.settings)
    sound, left_out, rows = plan_windows(*documents, draw, bars, most_tokens, moves, rules)
    if sound < len(documents.lengths):
        raise DataError(
            f"document {sound} is not a whole piece; build the data set again "
            "('megatron-music data verify' says what is wrong)"
        )
    return Windows(documents, rows, left_out, draw, vocabulary)


def windows_at(
    documents: Documents, firsts: IntArray, bars: IntArray, vocabulary: Vocabulary
) -> list[TokenArray]:
    """Return the windows of one document that begin with these bars, tracks in their order.

    They are empty where nothing sounds.
    """
    rows = np.zeros((len(firsts), 7), np.int64)
    rows[:, 2], rows[:, 3], rows[:, 4] = firsts, bars, MOST_TRACKS
    cut = Windows(documents, rows, 0, new_draw(0, range(1), shuffle=False), vocabulary)
    return [cut.read(window) for window in range(len(cut))]


def shortened(
    documents: Documents, longer: IntArray, most_tokens: int, vocabulary: Vocabulary
) -> Windows:
    """Return the beginnings of some documents: as many bars of all tracks as fit.

    Where one bar does not, as many of its tracks. The size is 0 where nothing fits.
    """
    from megatron_music.tokenizer.window_plan_kernel import shorten_documents

    draw = new_draw(0, range(1), shuffle=False)
    rows = shorten_documents(*documents, longer, draw, most_tokens, rules_of(vocabulary.settings))
    return Windows(documents, rows, 0, draw, vocabulary)


@lru_cache(maxsize=4)
def rules_of(settings: TokenizerSettings) -> "Rules":
    """Return what the kernels have to know of a vocabulary."""
    from megatron_music.tokenizer import window_index_kernel as of

    vocabulary = vocabulary_of(settings)
    kinds = np.zeros(len(vocabulary), np.int8)
    values = np.zeros(len(vocabulary), np.int32)
    of_vocabulary = {kind for kind, _ in vocabulary.meanings}
    states = [kind for kind in Kind if kind.name in _STATES and kind in of_vocabulary]
    named = {
        Kind.NOTE_ON: of.NOTE_ON,
        Kind.NOTE_OFF: of.NOTE_OFF,
        Kind.TIME_DELTA: of.TIME_DELTA,
        Kind.INST: of.INST,
        Kind.VELOCITY: of.VELOCITY,
    }
    for token, (kind, value) in enumerate(vocabulary.meanings):
        kinds[token] = of.STATE if kind in states else named.get(kind, of.OTHER)
        # The kernels keep one token of each family of states, so these are numbered.
        values[token] = states.index(kind) if kind in states else value
    marks = np.zeros(of.PIECE_END + 1, np.uint16)
    for name in (
        *("PIECE_START", "PIECE_END", "TRACK_START", "TRACK_END", "BAR_START", "BAR_END"),
        *("FILL_IN", "FILL_START", "FILL_END"),
    ):
        kinds[vocabulary.ids[name]] = marks_kind = getattr(of, name)
        marks[marks_kind] = vocabulary.ids[name]
    return of.Rules(
        kinds,
        values,
        families=len(states),
        bar_steps=np.array(vocabulary.bar_steps, np.int32),
        metre=vocabulary.metre,
        metre_family=states.index(Kind.METRE) if Kind.METRE in states else -1,
        tempo=vocabulary.tempo,
        tempo_family=states.index(Kind.TEMPO) if Kind.TEMPO in states else -1,
        tempi=len(vocabulary.tempi),
        velocities=vocabulary.settings.velocity,
        note_on=vocabulary.note_on,
        note_off=vocabulary.note_off,
        time_delta=vocabulary.time_delta,
        inst=vocabulary.inst,
        density=vocabulary.density,
        has_density=settings.density,
        edges=np.array(settings.density_edges, np.float64),
        marks=marks,
    )
