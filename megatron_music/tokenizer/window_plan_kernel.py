"""Draw what windows hold, and plan the windows of an epoch with their numbers of tokens; compiled.

A plan is rows of `Window`. Its tokens are cut when they are read, from the same random words.
"""

import numpy as np
import numpy.typing as npt

from megatron_music.score.grid_kernel import scramble_word
from megatron_music.score.jit import kernel, wide
from megatron_music.tokenizer.vocabulary import PITCHES, TokenArray
from megatron_music.tokenizer.window_cut_kernel import (
    TEMPO_COLUMN,
    BoolArray,
    IndexedDocument,
    TrackContents,
    WindowContents,
    copy_window,
    index_document,
    look_at_tracks,
)
from megatron_music.tokenizer.window_draw import Draw, IntArray, Window, WindowTables

_COLUMNS = len(Window._fields)
_NOTHING_FITS = 0
_HIGHEST_BIT = np.uint64(63)
_FRACTION_BITS = 11  # of 64 those that a float cannot hold
_FRACTIONS = float(1 << 53)
# What is drawn from the word of a window; each has a random word of its own.
_ORDER, _SHIFT, _DROP, _HIDES, _HIDE, _TEMPO, _VELOCITY = (np.uint64(n) for n in range(2, 9))
_PHASE = np.uint64(0x9A5E)
"""Makes the word of a document's first barline unlike that of its first window."""


@kernel
def plan_windows(
    tokens: TokenArray,
    starts: IntArray,
    lengths: npt.NDArray[np.int32],
    draw: Draw,
    bars: int,
    most_tokens: int,
    moves: bool,
    tables: WindowTables,
) -> tuple[int, int, IntArray]:
    """Return the first invalid document (or their number), bars left out, and rows of windows.

    Windows have `bars` bars, or fewer where these have over `most_tokens` tokens. Where it `moves`,
    the first barline of each document is drawn; else windows begin with the piece, and where bars
    are to be hidden each is there twice, without and with hidden ones.
    """
    rows = np.empty((1024, _COLUMNS), np.int64)
    count = bars_before = left_out_bars = 0
    for number in range(len(lengths)):
        end = starts[number] + wide(lengths[number])
        is_piece, document = index_document(tokens, starts[number], end, tables)
        if not is_piece:
            return number, 0, rows[:0]
        planned, left_out = _plan_document(
            document, number, bars_before, draw, bars, most_tokens, moves, tables
        )
        if count + len(planned) > len(rows):
            grown = np.empty((2 * len(rows) + len(planned), _COLUMNS), np.int64)
            grown[:count] = rows[:count]
            rows = grown
        rows[count : count + len(planned)] = planned
        count += len(planned)
        left_out_bars += left_out
        bars_before += document.bar_at.shape[1]
    return len(lengths), left_out_bars, rows[:count]


@kernel
def _plan_document(
    document: IndexedDocument,
    number: int,
    bars_before: int,
    draw: Draw,
    bars: int,
    most_tokens: int,
    moves: bool,
    tables: WindowTables,
) -> tuple[IntArray, int]:
    """Return the rows of a document's windows, and how many of its bars are left out.

    Where windows move, the first is as long as the others: it reaches into its neighbour, so that
    every bar is in one window of an epoch or in two. So does the last in half of the epochs; in the
    others it is as short as it falls, for a model has to know windows of any length.
    """
    total = document.bar_at.shape[1]
    # At most a window a bar, twice where bars are hidden, and those that reach over the ends.
    rows = np.empty((2 * total + 4, _COLUMNS), np.int64)
    count = at = left_out = 0
    last_reaches = False
    if moves and total > bars:
        word = scramble_word(draw.word ^ _PHASE ^ np.uint64(bars_before))
        phase = wide(word % np.uint64(bars))
        last_reaches = wide(word >> _HIGHEST_BIT) > 0
        window = _drawn(draw, number, bars_before, 0, bars)
        size = len(cut(document, window, draw, tables))
        if phase > 0 and size <= most_tokens:
            count = _add_row(_sized(window, bars, window.most_tracks, size), rows, count)
            at = phase
    while at < total:
        if last_reaches and total - at < bars:
            window = _drawn(draw, number, bars_before, total - bars, bars)
            size = len(cut(document, window, draw, tables))
            if size <= most_tokens:
                count = _add_row(_sized(window, bars, window.most_tracks, size), rows, count)
                return rows[:count], left_out
        window = _drawn(draw, number, bars_before, at, min(bars, total - at))
        # Of validation both kinds of windows are measured, on the same bars.
        has_both = not moves and draw.hidden > 0.0
        if has_both:
            window = _hiding(window, False)
        window = fit(document, window, draw, most_tokens, tables)
        count = _add_row(window, rows, count)
        if window.tokens == _NOTHING_FITS:
            left_out += len(cut(document, window, draw, tables)) > 0
        if has_both:
            hiding = fit(document, _hiding(window, True), draw, most_tokens, tables)
            count = _add_row(hiding, rows, count)
        at += window.bars
    return rows[:count], left_out


@kernel
def shorten_documents(
    tokens: TokenArray,
    starts: IntArray,
    lengths: npt.NDArray[np.int32],
    documents: IntArray,
    draw: Draw,
    most_tokens: int,
    tables: WindowTables,
) -> IntArray:
    """Return the rows of some documents, each with as much of its beginning as fits.

    Of those that are not whole pieces, and where nothing fits, all columns but `tokens` may be 0.
    """
    rows = np.zeros((len(documents), _COLUMNS), np.int64)
    for i in range(len(documents)):
        number = documents[i]
        end = starts[number] + wide(lengths[number])
        is_piece, document = index_document(tokens, starts[number], end, tables)
        if is_piece:
            whole = _drawn(draw, number, 0, 0, document.bar_at.shape[1])
            _add_row(fit(document, whole, draw, most_tokens, tables), rows, i)
    return rows


@kernel
def read_window(
    tokens: TokenArray, start: int, end: int, draw: Draw, row: IntArray, tables: WindowTables
) -> TokenArray:
    """Return the tokens of the window of a row; `start` and `end` are those of its document."""
    is_piece, document = index_document(tokens, start, end, tables)
    window = Window(row[0], row[1], row[2], row[3], row[4], row[5], row[6])
    first, bars = window.first_bar, window.bars
    if not is_piece or first < 0 or bars < 1 or first + bars > document.bar_at.shape[1]:
        return np.zeros(0, np.uint16)
    return cut(document, window, draw, tables)


@kernel
def _add_row(window: Window, rows: IntArray, count: int) -> int:
    """Write the row of a window, if it has tokens; return the number of all rows."""
    row = rows[count]
    row[0], row[1], row[2], row[3] = window.document, window.place, window.first_bar, window.bars
    row[4], row[5], row[6] = window.most_tracks, window.hides, window.tokens
    return count + (window.tokens > 0)


@kernel
def _drawn(draw: Draw, document: int, bars_before: int, first_bar: int, bars: int) -> Window:
    """Return a window that is not measured yet."""
    place = bars_before + first_bar
    hides = _fraction(scramble_word(_window_word(draw, place) + _HIDES)) < draw.hidden
    return Window(document, place, first_bar, bars, draw.most_tracks, int(hides), 0)


@kernel
def _hiding(window: Window, hides: bool) -> Window:
    return Window(
        window.document,
        window.place,
        window.first_bar,
        window.bars,
        window.most_tracks,
        int(hides),
        window.tokens,
    )


@kernel
def _sized(window: Window, bars: int, most_tracks: int, tokens: int) -> Window:
    return Window(
        window.document, window.place, window.first_bar, bars, most_tracks, window.hides, tokens
    )


@kernel
def _window_word(draw: Draw, place: int) -> np.uint64:
    """Return the random word that all random words of a window follow from."""
    return scramble_word(draw.word ^ np.uint64(place))


@kernel
def _fraction(word: np.uint64) -> float:
    """Return a random word as a number in [0, 1)."""
    return float(word >> np.uint64(_FRACTION_BITS)) / _FRACTIONS


@kernel
def fit(
    document: IndexedDocument, window: Window, draw: Draw, most_tokens: int, tables: WindowTables
) -> Window:
    """Return a window of at most `most_tokens` tokens: the most bars of all tracks.

    Where one bar has more, the most of its tracks in their order; 0 tokens where not even one
    track fits, or nothing sounds.
    """
    size = len(cut(document, window, draw, tables))
    if size <= most_tokens:
        return _sized(window, window.bars, window.most_tracks, size)
    fitting, too_many, size = 0, window.bars, 0
    while too_many - fitting > 1:
        bars = (fitting + too_many) // 2
        tried = len(cut(document, _sized(window, bars, window.most_tracks, 0), draw, tables))
        if tried <= most_tokens:
            fitting, size = bars, tried
        else:
            too_many = bars
    if fitting > 0:
        return _sized(window, fitting, window.most_tracks, size)
    for tracks in range(min(window.most_tracks, len(document.track_at)) - 1, 0, -1):
        fewer = _sized(window, 1, tracks, 0)
        size = len(cut(document, fewer, draw, tables))
        if size <= most_tokens:
            return _sized(fewer, 1, tracks, size)
    return _sized(window, 1, 1, _NOTHING_FITS)


@kernel
def cut(document: IndexedDocument, window: Window, draw: Draw, tables: WindowTables) -> TokenArray:
    """Return the tokens of a window; none if it is silent or no key is possible."""
    first_bar, bars = window.first_bar, window.bars
    word = _window_word(draw, window.place)
    found, most_tokens = look_at_tracks(document, first_bar, bars, tables)
    tracks = _ordered(found, window.most_tracks, draw, word)
    lowest, highest = PITCHES - 1, 0
    for track in tracks:
        if not found.is_drums[track]:
            lowest = min(lowest, found.lowest[track])
            highest = max(highest, found.highest[track])
    last_shift = draw.lowest_shift + draw.shifts - 1
    keys, semitones = _drawn_shift(
        scramble_word(word + _SHIFT), draw.lowest_shift, last_shift, lowest, highest, PITCHES
    )
    if len(tracks) == 0 or keys == 0:
        return np.zeros(0, np.uint16)
    hidden = np.zeros((len(tracks), bars), np.bool_)
    if window.hides:
        hide_bars(scramble_word(word + _HIDE), hidden)
    # Bars that the document itself hides stay hidden.
    for i in range(len(tracks)):
        for bar in range(bars):
            hidden[i, bar] |= document.hidden[tracks[i], first_bar + bar]
    tempo, velocity = _level_shifts(document, window, found, tracks, draw, word, tables)
    contents = WindowContents(first_bar, bars, tracks, hidden, semitones, tempo, velocity)
    return copy_window(document, found, contents, most_tokens, tables)


@kernel
def _ordered(found: TrackContents, most_tracks: int, draw: Draw, word: np.uint64) -> IntArray:
    """Return the tracks that sound and are kept, in the order of `hashing.track_order`."""
    order_word, drop_word = scramble_word(word + _ORDER), scramble_word(word + _DROP)
    total = len(found.notes)
    order = np.zeros(total, np.int64)
    keys = np.zeros(total, np.uint64)
    sounding = 0
    for track in range(total):
        if found.notes[track] == 0:
            continue
        key, place = scramble_word(order_word + np.uint64(sounding)), sounding
        while draw.shuffle and place > 0 and keys[place - 1] > key:
            keys[place], order[place] = keys[place - 1], order[place - 1]
            place -= 1
        keys[place], order[place] = key, track
        sounding += 1
    kept = min(sounding, most_tracks)
    if kept > 1 and _fraction(drop_word) < draw.dropped:
        dropped = wide(scramble_word(drop_word) % np.uint64(kept))
        order[dropped : kept - 1] = order[dropped + 1 : kept].copy()
        kept -= 1
    return order[:kept]


@kernel
def _drawn_shift(
    word: np.uint64, first: int, last: int, lowest: int, highest: int, count: int
) -> tuple[int, int]:
    """Return a shift of `first`..`last` that leaves `lowest`..`highest` in 0..`count` - 1.

    Before it, how many such shifts there are; 0 where there are none.
    """
    least = max(first, -lowest)
    choices = max(0, min(last, count - 1 - highest) - least + 1)
    if choices == 0:
        return 0, 0
    return choices, least + wide(word % np.uint64(choices))


@kernel
def _level_shifts(
    document: IndexedDocument,
    window: Window,
    found: TrackContents,
    tracks: IntArray,
    draw: Draw,
    word: np.uint64,
    tables: WindowTables,
) -> tuple[int, int]:
    """Return the levels by which the TEMPO and the VELOCITY tokens of a window are moved."""
    tempo = velocity = 0
    if draw.tempo_levels > 0 and tables.tempo_levels > 0:
        slowest, fastest = tables.tempo_levels - 1, 0
        for bar in range(window.first_bar, window.first_bar + window.bars):
            level = wide(tables.values[document.marks[bar, TEMPO_COLUMN]])
            slowest, fastest = min(slowest, level), max(fastest, level)
        most, levels, tempo_word = draw.tempo_levels, tables.tempo_levels, word + _TEMPO
        _, tempo = _drawn_shift(scramble_word(tempo_word), -most, most, slowest, fastest, levels)
    if draw.velocity_levels > 0 and tables.velocity_levels > 0:
        softest, loudest = tables.velocity_levels - 1, 0
        for track in tracks:
            softest = min(softest, found.softest[track])
            loudest = max(loudest, found.loudest[track])
        most, levels, loud_word = draw.velocity_levels, tables.velocity_levels, word + _VELOCITY
        _, velocity = _drawn_shift(scramble_word(loud_word), -most, most, softest, loudest, levels)
    return tempo, velocity


@kernel
def hide_bars(word: np.uint64, hidden: BoolArray) -> None:
    """Mark the bars [tracks, bars] that `hidden_bars.choose_bars` hides, by its last word."""
    tracks, bars = hidden.shape
    zero, one = np.uint64(0), np.uint64(1)
    choice, size, place = (
        scramble_word(word + zero),
        scramble_word(word + one),
        scramble_word(word + np.uint64(2)),
    )
    ways = 1 + (bars > 1) + (tracks > 1)
    way = wide(choice % np.uint64(ways))
    if way == 0:
        cells = tracks * bars
        count = 1 + wide(size % np.uint64(max(1, 3 * cells // 4)))
        keys = np.zeros(cells, np.uint64)
        for cell in range(cells):
            keys[cell] = scramble_word(word + np.uint64(3 + cell))
        order = np.argsort(keys)
        for i in range(count):
            hidden[order[i] // bars, order[i] % bars] = True
    elif way == 1 and bars > 1:
        count = 1 + wide(size % np.uint64(max(1, 3 * bars // 4)))
        first = wide(place % np.uint64(bars - count + 1))
        hidden[:, first : first + count] = True
    else:
        hidden[wide(place % np.uint64(tracks)), :] = True
