"""Cut windows out of the tokens of whole pieces, compiled.

A window is some bars of an indexed document (`window_index_kernel`): the tracks that sound in them,
in an order, in a key, with some bars hidden. The tokens are those that `codec.encode` and
`hidden_bars.hide` write for the same notes: a note belongs to the window it begins in and ends with
it at the latest.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.score.compiled import kernel, wide
from megatron_music.score.grid_kernel import scramble_word
from megatron_music.score.instruments import DRUMS
from megatron_music.tokenizer.vocabulary import PITCHES
from megatron_music.tokenizer.window_index_kernel import (
    BAR_END,
    FILL_END,
    INST,
    NOTE_ON,
    PIECE_END,
    VELOCITY,
    Cells,
    Index,
    Rules,
    Tokens,
)
from megatron_music.tokenizer.window_write_kernel import WindowChoice, write

NOTHING_FITS = 0

_FRAME = 8  # tokens of a track, or of a document, without its bars and notes
_FRACTION_BITS = 11  # of 64 those that a float cannot hold
_FRACTIONS = float(1 << 53)
_ORDER, _SHIFT, _DROP, _IS_HIDDEN, _HIDE, _TEMPO, _VELOCITY = (np.uint64(n) for n in range(2, 9))


class Draw(NamedTuple):
    """The parameters of drawing windows; every draw depends on `word` and the window's place.

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


class Words(NamedTuple):
    """The random words of a window, and the parameters of drawing it.

    Tracks are ordered by `order`, as in `hashing.track_order`; bars are hidden as
    `hidden_bars.choose_bars` chooses them by `hide`.
    """

    draw: Draw
    order: np.uint64
    drop: np.uint64
    shift: np.uint64
    hide: np.uint64
    tempo: np.uint64
    velocity: np.uint64


class Window(NamedTuple):
    """`bars` bars from bar `first` on, of at most `most_tracks` tracks; `hides` some of them."""

    first: int
    bars: int
    most_tracks: int
    hides: bool
    words: Words


class Tracks(NamedTuple):
    """The tracks of a window.

    How many notes it has, their lowest and highest pitch and level of velocity, drums or not.
    """

    notes: Cells
    lowest: Cells
    highest: Cells
    softest: Cells
    loudest: Cells
    drums: npt.NDArray[np.bool_]


@kernel
def drawn_window(draw: Draw, place: int, first: int, bars: int) -> Window:
    """Return the window at a place, on which all that is drawn for it depends."""
    state = scramble_word(draw.word ^ np.uint64(place))
    hides = _fraction(scramble_word(state + _IS_HIDDEN)) < draw.hidden
    words = Words(
        draw,
        scramble_word(state + _ORDER),
        scramble_word(state + _DROP),
        scramble_word(state + _SHIFT),
        scramble_word(state + _HIDE),
        scramble_word(state + _TEMPO),
        scramble_word(state + _VELOCITY),
    )
    return Window(first, bars, draw.most_tracks, hides, words)


@kernel
def _fraction(word: np.uint64) -> float:
    """Return a random word as a number in [0, 1)."""
    return float(word >> np.uint64(_FRACTION_BITS)) / _FRACTIONS


@kernel
def cut(tokens: Tokens, index: Index, window: Window, rules: Rules) -> Tokens:
    """Return the tokens of a window; none if it is silent or no key is possible."""
    tracks = len(index.heads)
    about = Tracks(
        np.zeros(tracks, np.int64),
        np.full(tracks, PITCHES, np.int64),
        np.full(tracks, -1, np.int64),
        np.full(tracks, rules.velocities, np.int64),
        np.full(tracks, -1, np.int64),
        np.zeros(tracks, np.bool_),
    )
    room = _look(tokens, index, window, about, rules)
    order = _ordered(about, window)
    lowest, highest = PITCHES - 1, 0
    for track in order:
        if not about.drums[track]:
            lowest = min(lowest, about.lowest[track])
            highest = max(highest, about.highest[track])
    draw = window.words.draw
    last_shift = draw.lowest_shift + draw.shifts - 1
    # A key of those that leave all pitches in range.
    shifts, semitones = _moved(
        window.words.shift, draw.lowest_shift, last_shift, -lowest, PITCHES - 1 - highest
    )
    if len(order) == 0 or shifts == 0:
        return np.zeros(0, np.uint16)
    hidden = np.zeros((len(order), window.bars), np.bool_)
    if window.hides:
        hide_bars(window.words.hide, hidden)
    # Bars that the document itself hides stay hidden.
    for i in range(len(order)):
        for bar in range(window.bars):
            hidden[i, bar] |= index.hidden[order[i], window.first + bar]
    tempo, velocity = _levels(index, about, order, window, rules)
    chosen = WindowChoice(window.first, window.bars, order, semitones, hidden, tempo, velocity)
    return write(tokens, index, about.notes, about.drums, chosen, room, rules)


@kernel
def _look(tokens: Tokens, index: Index, window: Window, about: Tracks, rules: Rules) -> int:
    """Find the contents of a window's tracks; return the most tokens that it can have."""
    kinds, values = rules.kinds, rules.values
    most = _FRAME + index.body - index.start
    for track in range(len(index.heads)):
        head = index.heads[track]
        while kinds[tokens[head]] != INST and head + 1 < index.opening[track, 0]:
            head += 1
        about.drums[track] = values[tokens[head]] == DRUMS
        # All pitches may be held at the end of the window, where they are closed.
        most += _FRAME + PITCHES + window.bars * (3 + rules.families)
        for bar in range(window.first, window.first + window.bars):
            at = index.opening[track, bar] + 1
            kind = kinds[tokens[at]]
            while kind not in (BAR_END, FILL_END, PIECE_END):
                if kind == NOTE_ON:
                    pitch = wide(values[tokens[at]])
                    about.notes[track] += 1
                    about.lowest[track] = min(about.lowest[track], pitch)
                    about.highest[track] = max(about.highest[track], pitch)
                elif kind == VELOCITY:
                    level = wide(values[tokens[at]])
                    about.softest[track] = min(about.softest[track], level)
                    about.loudest[track] = max(about.loudest[track], level)
                at += 1
                kind = kinds[tokens[at]]
            most += at - index.opening[track, bar]
    return most


@kernel
def _ordered(about: Tracks, window: Window) -> Cells:
    """Return the tracks of a window that sound and are kept, in their order."""
    words, total = window.words, len(about.notes)
    order = np.zeros(total, np.int64)
    keys = np.zeros(total, np.uint64)
    sounding = 0
    for track in range(total):
        if about.notes[track] == 0:
            continue
        key, place = scramble_word(words.order + np.uint64(sounding)), sounding
        while words.draw.shuffle and place > 0 and keys[place - 1] > key:
            keys[place], order[place] = keys[place - 1], order[place - 1]
            place -= 1
        keys[place], order[place] = key, track
        sounding += 1
    kept = min(sounding, window.most_tracks)
    if kept > 1 and _fraction(words.drop) < words.draw.dropped:
        dropped = wide(scramble_word(words.drop) % np.uint64(kept))
        order[dropped : kept - 1] = order[dropped + 1 : kept].copy()
        kept -= 1
    return order[:kept]


@kernel
def _moved(word: np.uint64, low: int, high: int, least: int, most: int) -> tuple[int, int]:
    """Return how many numbers of `low`..`high` are in `least`..`most`, and a drawn one of them."""
    first = max(low, least)
    count = max(0, min(high, most) - first + 1)
    if count == 0:
        return 0, 0
    return count, first + wide(word % np.uint64(count))


@kernel
def _levels(
    index: Index, about: Tracks, order: Cells, window: Window, rules: Rules
) -> tuple[int, int]:
    """Return the levels by which the TEMPO and the VELOCITY tokens of a window are moved."""
    words, draw = window.words, window.words.draw
    tempo = velocity = 0
    if draw.tempo_levels > 0 and rules.tempo_family >= 0:
        end = window.first + window.bars
        levels = index.states[window.first : end, rules.tempo_family] - rules.tempo
        most, highest = draw.tempo_levels, rules.tempi - 1
        _, tempo = _moved(words.tempo, -most, most, -levels.min(), highest - levels.max())
    if draw.velocity_levels > 0 and rules.velocities > 0:
        softest, loudest = rules.velocities - 1, 0
        for track in order:
            softest = min(softest, about.softest[track])
            loudest = max(loudest, about.loudest[track])
        most, highest = draw.velocity_levels, rules.velocities - 1
        _, velocity = _moved(words.velocity, -most, most, -softest, highest - loudest)
    return tempo, velocity


@kernel
def hide_bars(word: np.uint64, hidden: npt.NDArray[np.bool_]) -> None:
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


@kernel
def fit(
    tokens: Tokens, index: Index, window: Window, most: int, rules: Rules
) -> tuple[Window, int]:
    """Return a window of at most `most` tokens, and its tokens: the most bars of all tracks.

    Where one bar has more, the most of its tracks in their order; no tokens where not even one
    track fits, or nothing sounds.
    """
    size = len(cut(tokens, index, window, rules))
    if size <= most:
        return window, size
    low, high, size = 0, window.bars, 0  # `low` bars fit, `high` do not
    while high - low > 1:
        bars = (low + high) // 2
        tried = len(cut(tokens, index, _shorter(window, bars, window.most_tracks), rules))
        if tried <= most:
            low, size = bars, tried
        else:
            high = bars
    if low > 0:
        return _shorter(window, low, window.most_tracks), size
    for tracks in range(min(window.most_tracks, len(index.heads)) - 1, 0, -1):
        fewer = _shorter(window, 1, tracks)
        size = len(cut(tokens, index, fewer, rules))
        if size <= most:
            return fewer, size
    return _shorter(window, 1, 1), NOTHING_FITS


@kernel
def _shorter(window: Window, bars: int, most_tracks: int) -> Window:
    return Window(window.first, bars, most_tracks, window.hides, window.words)
