"""Plan the windows of an epoch and their numbers of tokens; compiled."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.score.compiled import kernel, wide
from megatron_music.score.grid_kernel import scramble_word
from megatron_music.tokenizer.window_index_kernel import (
    Cells,
    Index,
    Rules,
    Tokens,
    index_document,
)
from megatron_music.tokenizer.window_kernel import (
    NOTHING_FITS,
    Draw,
    Window,
    cut,
    drawn_window,
    fit,
)

DOCUMENT, PLACE, FIRST, BARS, TRACKS, HIDES, SIZE = range(7)
"""Columns of a plan; `PLACE` counts the bars of all documents before the window's first."""

_COLUMNS = 7
_PHASE = np.uint64(0x9A5E)
_HIGHEST_BIT = np.uint64(63)


class WindowRequest(NamedTuple):
    """Windows of up to `bars` bars and `most_tokens` tokens; the first barline `moves` or not."""

    bars: int
    most_tokens: int
    moves: bool


@kernel
def plan_windows(
    tokens: Tokens,
    starts: Cells,
    lengths: npt.NDArray[np.int32],
    draw: Draw,
    bars: int,
    most_tokens: int,
    moves: bool,
    rules: Rules,
) -> tuple[int, int, npt.NDArray[np.int64]]:
    """Return the first invalid document (or their number), bars left out, and the windows.

    Documents are laid with windows of `bars` bars, or fewer where these have over `most_tokens`
    tokens. Where it `moves`, the first barline of each is drawn; else windows begin with the piece,
    and where bars are to be hidden each is there twice, without and with hidden ones.
    """
    rows = np.empty((1024, _COLUMNS), np.int64)
    count = place = left_out = 0
    for document in range(len(lengths)):
        start = starts[document]
        is_sound, index = index_document(tokens, start, start + wide(lengths[document]), rules)
        if not is_sound:
            return document, 0, rows[:0]
        laid = index.opening.shape[1]
        # At most a window a bar, twice where bars are hidden, and those that reach over the ends.
        if count + 2 * laid + 4 > len(rows):
            grown = np.empty((2 * len(rows) + 2 * laid + 4, _COLUMNS), np.int64)
            grown[:count] = rows[:count]
            rows = grown
        before = count
        asked = WindowRequest(bars, most_tokens, moves)
        count, left = _lay(tokens, index, draw, place, asked, rules, rows, count)
        rows[before:count, DOCUMENT] = document
        left_out += left
        place += laid
    return len(lengths), left_out, rows[:count]


@kernel
def _lay(
    tokens: Tokens,
    index: Index,
    draw: Draw,
    place: int,
    asked: WindowRequest,
    rules: Rules,
    rows: npt.NDArray[np.int64],
    count: int,
) -> tuple[int, int]:
    """Plan the windows of one document; return the number of all rows, and bars left out.

    Where windows move, the first is as long as the others: it reaches into its neighbour, so that
    every bar is in one window of an epoch or in two. So does the last in half of the epochs; in the
    others it is as short as it falls, for a model has to know windows of any length.
    """
    total = index.opening.shape[1]
    at = left_out = 0
    bars, most_tokens = asked.bars, asked.most_tokens
    moves = asked.moves and total > bars
    reaches = 0
    if moves:
        # Of another constant than the words of windows, which depend on the same place.
        word = scramble_word(draw.word ^ _PHASE ^ np.uint64(place))
        phase = wide(word % np.uint64(bars))
        reaches = wide(word >> _HIGHEST_BIT)
        whole = drawn_window(draw, place, 0, bars)
        if phase > 0 and len(cut(tokens, index, whole, rules)) <= most_tokens:
            count = _note(whole, place, len(cut(tokens, index, whole, rules)), rows, count)
            at = phase
    while at < total:
        if reaches > 0 and total - at < bars:
            whole = drawn_window(draw, place + total - bars, total - bars, bars)
            size = len(cut(tokens, index, whole, rules))
            if size <= most_tokens:
                return _note(whole, place, size, rows, count), left_out
        window = drawn_window(draw, place + at, at, min(bars, total - at))
        # Of validation both kinds of windows are measured, on the same bars.
        if not asked.moves and draw.hidden > 0.0:
            window = _hiding(window, False)
        laid, size = fit(tokens, index, window, most_tokens, rules)
        count = _note(laid, place, size, rows, count)
        left_out += size == NOTHING_FITS and len(cut(tokens, index, laid, rules)) > 0
        if not asked.moves and draw.hidden > 0.0:
            again, size = fit(tokens, index, _hiding(laid, True), most_tokens, rules)
            count = _note(again, place, size, rows, count)
        at += laid.bars
    return count, left_out


@kernel
def _hiding(window: Window, hides: bool) -> Window:
    """Return a window with bars hidden or not."""
    return Window(window.first, window.bars, window.most_tracks, hides, window.words)


@kernel
def _note(window: Window, place: int, size: int, rows: npt.NDArray[np.int64], count: int) -> int:
    """Write the row of a window that has tokens; return the number of all rows."""
    row = rows[count]
    row[PLACE], row[FIRST], row[BARS] = place + window.first, window.first, window.bars
    row[TRACKS], row[HIDES], row[SIZE] = window.most_tracks, window.hides, size
    return count + (size > 0)


@kernel
def shorten_documents(
    tokens: Tokens,
    starts: Cells,
    lengths: npt.NDArray[np.int32],
    documents: Cells,
    draw: Draw,
    most_tokens: int,
    rules: Rules,
) -> npt.NDArray[np.int64]:
    """Return rows of a plan for some documents, each with as much of its beginning as fits.

    The size is 0 where nothing fits, or where the tokens are not a document.
    """
    rows = np.zeros((len(documents), _COLUMNS), np.int64)
    for i in range(len(documents)):
        document = documents[i]
        start = starts[document]
        is_sound, index = index_document(tokens, start, start + wide(lengths[document]), rules)
        if is_sound:
            whole = drawn_window(draw, document, 0, index.opening.shape[1])
            laid, size = fit(tokens, index, whole, most_tokens, rules)
            rows[i, DOCUMENT] = document
            _note(laid, 0, size, rows, i)
    return rows


@kernel
def read_window(
    tokens: Tokens, start: int, end: int, draw: Draw, row: Cells, rules: Rules
) -> Tokens:
    """Return the tokens of a window of a plan."""
    is_sound, index = index_document(tokens, start, end, rules)
    first, bars = row[FIRST], row[BARS]
    if not is_sound or first < 0 or bars < 1 or first + bars > index.opening.shape[1]:
        return np.zeros(0, np.uint16)
    drawn = drawn_window(draw, row[PLACE], first, bars)
    window = Window(first, bars, row[TRACKS], row[HIDES] > 0, drawn.words)
    return cut(tokens, index, window, rules)
