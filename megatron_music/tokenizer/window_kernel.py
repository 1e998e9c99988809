"""Windows cut out of the tokens of whole pieces, compiled.

A window is some bars of an indexed document (`window_index_kernel`): the tracks that sound in them,
in an order, in a key, with some bars hidden. The tokens are those that `codec.encode` and
`fill.hide` write for the same notes: a note belongs to the window it begins in and ends with it at
the latest.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.score.compiled import kernel, wide
from megatron_music.score.grid_kernel import scramble_word
from megatron_music.score.instruments import DRUMS
from megatron_music.tokenizer.vocabulary import DENSITY_LEVELS, PITCHES
from megatron_music.tokenizer.window_index_kernel import (
    BAR_END,
    BAR_START,
    FILL_END,
    FILL_IN,
    FILL_START,
    INST,
    NOTE_OFF,
    NOTE_ON,
    PIECE_END,
    STATE,
    TIME_DELTA,
    TRACK_END,
    Cells,
    Index,
    Rules,
    Tokens,
)

NOTHING_FITS = 0

_FRAME = 8  # tokens of a track, or of a document, beside bars and notes
_FRACTION_BITS = 11
_FRACTIONS = float(1 << 53)
_PHASE, _ORDER, _SHIFT, _DROP, _IS_HIDDEN, _HIDE = (np.uint64(n) for n in range(1, 7))


class Draw(NamedTuple):
    """How windows are drawn: all of it follows from `word` and the window's place.

    With `shuffle` tracks stand in a random order; the first `most_tracks` stay, and each of them
    but one is dropped in the share `dropped`. A key is one of `shifts` semitones, from
    `lowest_shift` on, that leave all pitches in 0..127. A share of `hidden` windows hides bars.
    """

    word: np.uint64
    shuffle: bool
    most_tracks: int
    dropped: float
    lowest_shift: int
    shifts: int
    hidden: float


class Words(NamedTuple):
    """The words that what is drawn for a window follows from, and how it is drawn.

    Tracks are ordered by `order`, as in `hashing.track_order`; bars are hidden as
    `fill.choose_bars` chooses them by `hide`.
    """

    draw: Draw
    order: np.uint64
    drop: np.uint64
    shift: np.uint64
    hide: np.uint64


class Window(NamedTuple):
    """`bars` bars from bar `first` on, of at most `most_tracks` tracks; `hides` some of them."""

    first: int
    bars: int
    most_tracks: int
    hides: bool
    words: Words


class WindowChoice(NamedTuple):
    """What a window is written from: tracks in their order, semitones, hidden bars [track, bar]."""

    order: Cells
    semitones: int
    hidden: npt.NDArray[np.bool_]


class Tracks(NamedTuple):
    """What is known of the tracks of a window: notes, lowest and highest pitch, drums or not."""

    notes: Cells
    lowest: Cells
    highest: Cells
    drums: npt.NDArray[np.bool_]


@kernel
def drawn_window(draw: Draw, place: int, first: int, bars: int) -> Window:
    """Return the window at a place: what is drawn for it follows from the place alone."""
    state = scramble_word(draw.word ^ np.uint64(place))
    hides = _fraction(scramble_word(state + _IS_HIDDEN)) < draw.hidden
    words = Words(
        draw,
        scramble_word(state + _ORDER),
        scramble_word(state + _DROP),
        scramble_word(state + _SHIFT),
        scramble_word(state + _HIDE),
    )
    return Window(first, bars, draw.most_tracks, hides, words)


@kernel
def _fraction(word: np.uint64) -> float:
    """Return a random word as a number in [0, 1)."""
    return float(word >> np.uint64(_FRACTION_BITS)) / _FRACTIONS


@kernel
def cut(tokens: Tokens, index: Index, window: Window, rules: Rules) -> Tokens:
    """Return the tokens of a window: none where nothing sounds, or no key is possible."""
    tracks = len(index.heads)
    about = Tracks(
        np.zeros(tracks, np.int64),
        np.full(tracks, PITCHES, np.int64),
        np.full(tracks, -1, np.int64),
        np.zeros(tracks, np.bool_),
    )
    room = _look(tokens, index, window, about, rules)
    order = _ordered(about, window)
    shifts, semitones = _key(about, order, window)
    if len(order) == 0 or shifts == 0:
        return np.zeros(0, np.uint16)
    hidden = np.zeros((len(order), window.bars), np.bool_)
    if window.hides:
        hide_bars(window.words.hide, hidden)
    for i in range(len(order)):
        for bar in range(window.bars):
            hidden[i, bar] |= index.hidden[order[i], window.first + bar]
    chosen = WindowChoice(order, semitones, hidden)
    return _write(tokens, index, window, about.notes, about.drums, chosen, room, rules)


@kernel
def _look(tokens: Tokens, index: Index, window: Window, about: Tracks, rules: Rules) -> int:
    """Find what is in the tracks of a window; return how many tokens there are at most."""
    kinds, values = rules.kinds, rules.values
    most = _FRAME + index.body - index.start
    for track in range(len(index.heads)):
        head = index.heads[track]
        while kinds[tokens[head]] != INST and head + 1 < index.opening[track, 0]:
            head += 1
        about.drums[track] = values[tokens[head]] == DRUMS
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
                at += 1
                kind = kinds[tokens[at]]
            most += at - index.opening[track, bar]
    return most


@kernel
def notes_in(tokens: Tokens, index: Index, track: int, first: int, bars: int, rules: Rules) -> int:
    """Return how many notes begin in some bars of a track."""
    notes = 0
    for bar in range(first, first + bars):
        at = index.opening[track, bar] + 1
        kind = rules.kinds[tokens[at]]
        while kind not in (BAR_END, FILL_END, PIECE_END):
            notes += kind == NOTE_ON
            at += 1
            kind = rules.kinds[tokens[at]]
    return notes


@kernel
def _ordered(about: Tracks, window: Window) -> Cells:
    """Return the tracks of a window in their order: those that sound and stay."""
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
    if words.draw.dropped <= 0.0:
        return order[:kept]
    staying = 0
    for i in range(kept):
        drops = _fraction(scramble_word(words.drop + np.uint64(i))) < words.draw.dropped
        if not drops or (staying == 0 and i == kept - 1):
            order[staying] = order[i]
            staying += 1
    return order[:staying]


@kernel
def _key(about: Tracks, order: Cells, window: Window) -> tuple[int, int]:
    """Return how many keys leave all pitches in range, and the semitones of the one drawn."""
    words, draw = window.words, window.words.draw
    lowest, highest = PITCHES - 1, 0
    for track in order:
        if not about.drums[track]:
            lowest = min(lowest, about.lowest[track])
            highest = max(highest, about.highest[track])
    low = max(draw.lowest_shift, -lowest)
    last = min(draw.lowest_shift + draw.shifts - 1, PITCHES - 1 - highest)
    count = max(0, last - low + 1)
    if count == 0:
        return 0, 0
    return count, low + wide(words.shift % np.uint64(count))


@kernel
def hide_bars(word: np.uint64, hidden: npt.NDArray[np.bool_]) -> None:
    """Mark the bars [tracks, bars] to hide: those of `fill.choose_bars`, by its last word."""
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
def _write(
    tokens: Tokens,
    index: Index,
    window: Window,
    notes: Cells,
    drums: npt.NDArray[np.bool_],
    chosen: WindowChoice,
    room: int,
    rules: Rules,
) -> Tokens:
    """Write a window of tracks that are chosen; `notes` and `drums` are those of all tracks."""
    out, contents = np.empty(room, np.uint16), np.empty(room, np.uint16)
    marks, kinds, told = rules.marks, rules.kinds, index.told
    at = written = 0
    for source in range(index.start, index.body):
        out[at] = tokens[source]
        if kinds[tokens[source]] == STATE:
            out[at] = told[window.first, rules.values[tokens[source]]]
        at += 1
    end = window.first + window.bars
    held = np.zeros(PITCHES, np.bool_)
    for i in range(len(chosen.order)):
        track = chosen.order[i]
        shift = 0 if drums[track] else chosen.semitones
        at = _write_head(tokens, index, track, notes[track] / window.bars, rules, out, at)
        held[:] = False
        for bar in range(window.first, end):
            if bar > window.first:
                for family in range(rules.families):
                    out[at] = told[bar, family]
                    at += told[bar, family] != told[bar - 1, family]
            closes = _steps(told, bar, rules) if bar == end - 1 else -1
            source = index.opening[track, bar] + 1
            if chosen.hidden[i, bar - window.first]:
                out[at] = marks[FILL_IN]
                at += 1
                contents[written] = marks[FILL_START]
                written = _write_bar(
                    tokens, source, closes, shift, held, rules, contents, written + 1
                )
                contents[written] = marks[FILL_END]
                written += 1
            else:
                out[at] = marks[BAR_START]
                at = _write_bar(tokens, source, closes, shift, held, rules, out, at + 1)
                out[at] = marks[BAR_END]
                at += 1
        out[at] = marks[TRACK_END]
        at += 1
    whole = np.empty(at + written + 1, np.uint16)
    whole[:at] = out[:at]
    whole[at : at + written] = contents[:written]
    whole[at + written] = marks[PIECE_END]
    return whole


@kernel
def _write_head(
    tokens: Tokens, index: Index, track: int, rate: float, rules: Rules, out: Tokens, at: int
) -> int:
    """Write what stands before the first bar of a track: its mark, instrument and density."""
    source = index.heads[track]
    out[at] = tokens[source]
    source, at = source + 1, at + 1
    while rules.kinds[tokens[source]] == INST:
        out[at] = tokens[source]
        source, at = source + 1, at + 1
    if rules.has_density and 0 <= wide(tokens[source]) - rules.density < DENSITY_LEVELS:
        level = rules.density
        for edge in rules.edges:
            level += edge <= rate
        out[at] = level
        at += 1
    return at


@kernel
def _steps(told: Cells, bar: int, rules: Rules) -> int:
    """Return the length of a bar."""
    metre = told[bar, rules.metre_family] - rules.metre if rules.metre_family >= 0 else 0
    return wide(rules.bar_steps[min(max(metre, 0), len(rules.bar_steps) - 1)])


@kernel
def _write_bar(
    tokens: Tokens,
    source: int,
    closes: int,
    shift: int,
    held: npt.NDArray[np.bool_],
    rules: Rules,
    out: Tokens,
    at: int,
) -> int:
    """Write what a bar holds, without the ends of notes that began before the window.

    With `closes` above 0 the bar is the last, of so many steps: what still sounds ends with it.
    """
    kinds, values = rules.kinds, rules.values
    now = done = 0
    token = tokens[source]
    kind = kinds[token]
    while kind not in (BAR_END, FILL_END, PIECE_END):
        value = wide(values[token])
        if kind == TIME_DELTA:
            now += value
        elif kind != NOTE_OFF or (held[value] and now != closes):
            if now > done:
                out[at] = rules.time_delta + now - done
                at, done = at + 1, now
            moves = shift if kind in (NOTE_ON, NOTE_OFF) else 0
            out[at] = token + moves
            at += 1
            if kind == NOTE_ON:
                held[value] = True
            elif kind == NOTE_OFF:
                held[value] = False
        source += 1
        token = tokens[source]
        kind = kinds[token]
    if closes > 0:
        at = _close(closes, done, shift, held, rules, out, at)
    return at


@kernel
def _close(
    closes: int,
    done: int,
    shift: int,
    held: npt.NDArray[np.bool_],
    rules: Rules,
    out: Tokens,
    at: int,
) -> int:
    """End what still sounds on the barline that closes the window, the lowest pitch first."""
    for pitch in range(PITCHES):
        if held[pitch]:
            if closes > done:
                out[at] = rules.time_delta + closes - done
                at, done = at + 1, closes
            out[at] = rules.note_off + pitch + shift
            at += 1
    return at


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
