"""Windows of whole pieces: which there are, and their tokens.

windows = plan(pieces, draw, bars=8, most_tokens=1024, moves=True, vocabulary=vocabulary)
tokens = windows.read(0)
"""

from dataclasses import dataclass

import numpy as np

from megatron_music.errors import DataError
from megatron_music.tokenizer.vocabulary import TokenArray, Vocabulary
from megatron_music.tokenizer.window_draw import (
    ALL_TRACKS,
    Documents,
    Draw,
    IntArray,
    Window,
    new_draw,
    window_tables,
)
from megatron_music.tokenizer.window_plan_kernel import (
    plan_windows,
    read_window,
    shorten_documents,
)


@dataclass(frozen=True)
class Windows:
    """The windows of some documents: `rows` [windows, 7], with the fields of `Window` as columns.

    `left_out_bars` are bars of which not even one track fits.
    """

    documents: Documents
    rows: IntArray
    left_out_bars: int
    draw: Draw
    vocabulary: Vocabulary

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def sizes(self) -> IntArray:
        """The tokens of each window."""
        return self.rows[:, Window._fields.index("tokens")]

    @property
    def sources(self) -> IntArray:
        """The document and the first bar of each window [windows, 2]."""
        return self.rows[:, [Window._fields.index(name) for name in ("document", "first_bar")]]

    def read(self, window: int) -> TokenArray:
        """Return the tokens of a window."""
        row = self.rows[window]
        document = int(row[0])
        start = int(self.documents.starts[document])
        end = start + int(self.documents.lengths[document])
        tables = window_tables(self.vocabulary.settings)
        return read_window(self.documents.tokens, start, end, self.draw, row, tables)


def plan(
    documents: Documents,
    draw: Draw,
    bars: int,
    most_tokens: int,
    vocabulary: Vocabulary,
    *,
    moves: bool,
) -> Windows:
    """Return the windows of an epoch; raises DataError for a document that is not a piece."""
    tables = window_tables(vocabulary.settings)
    valid, left_out, rows = plan_windows(*documents, draw, bars, most_tokens, moves, tables)
    if valid < len(documents.lengths):
        raise DataError(
            f"document {valid} is not a whole piece; build the data set again "
            "('megatron-music data verify' says what is wrong)"
        )
    return Windows(documents, rows, left_out, draw, vocabulary)


def windows_at(
    documents: Documents, firsts: IntArray, bars: IntArray, vocabulary: Vocabulary
) -> list[TokenArray]:
    """Return the windows of one document that begin with these bars, tracks in their order.

    They are empty where nothing sounds.
    """
    windows = [Window(0, 0, *of, ALL_TRACKS, 0, 0) for of in zip(firsts, bars, strict=True)]
    rows = np.array(windows, np.int64).reshape(-1, len(Window._fields))
    cut = Windows(documents, rows, 0, new_draw(0, range(1), shuffle=False), vocabulary)
    return [cut.read(window) for window in range(len(cut))]


def shortened(
    documents: Documents, longer: IntArray, most_tokens: int, vocabulary: Vocabulary
) -> Windows:
    """Return the beginnings of some documents: as many bars of all tracks as fit.

    Where one bar does not, as many of its tracks. The size is 0 where nothing fits.
    """
    draw = new_draw(0, range(1), shuffle=False)
    tables = window_tables(vocabulary.settings)
    rows = shorten_documents(*documents, longer, draw, most_tokens, tables)
    return Windows(documents, rows, 0, draw, vocabulary)
