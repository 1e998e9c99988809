"""Write the tokens of a window whose contents are chosen; compiled."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.score.compiled import kernel, wide
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
    VELOCITY,
    Cells,
    Index,
    Rules,
    Tokens,
)


class WindowChoice(NamedTuple):
    """The contents of a window: `bars` bars from bar `first`, tracks in their order.

    Pitches move by `semitones`, those of drums aside, TEMPO and VELOCITY tokens by levels; bars are
    `hidden` [track, bar].
    """

    first: int
    bars: int
    order: Cells
    semitones: int
    hidden: npt.NDArray[np.bool_]
    tempo: int
    velocity: int


class Copied(NamedTuple):
    """How the tokens of a bar are copied: moved by semitones and levels of velocity.

    With `closes` above 0 the bar is the last and has that many steps: all notes end with it.
    `held` are the pitches that sound, before they are transposed.
    """

    closes: int
    semitones: int
    velocity: int
    held: npt.NDArray[np.bool_]


@kernel
def write(
    tokens: Tokens,
    index: Index,
    notes: Cells,
    drums: npt.NDArray[np.bool_],
    chosen: WindowChoice,
    room: int,
    rules: Rules,
) -> Tokens:
    """Return the tokens of a window, `room` of them at most.

    `notes` and `drums` are those of all tracks, of notes those in the window.
    """
    # The contents of hidden bars apart: they follow the tracks.
    out, contents = np.empty(room, np.uint16), np.empty(room, np.uint16)
    marks, states = rules.marks, index.states
    at = written = 0
    for source in range(index.start, index.body):
        out[at] = tokens[source]
        if rules.kinds[tokens[source]] == STATE:
            out[at] = _state(states, chosen.first, rules.values[tokens[source]], chosen, rules)
        at += 1
    end = chosen.first + chosen.bars
    held = np.zeros(PITCHES, np.bool_)
    for i in range(len(chosen.order)):
        track = chosen.order[i]
        shift = 0 if drums[track] else chosen.semitones
        at = _write_head(tokens, index, track, notes[track] / chosen.bars, rules, out, at)
        held[:] = False
        for bar in range(chosen.first, end):
            if bar > chosen.first:
                for family in range(rules.families):
                    out[at] = _state(states, bar, family, chosen, rules)
                    # Kept only where it changes: else the next token overwrites it.
                    at += states[bar, family] != states[bar - 1, family]
            closes = _steps(states, bar, rules) if bar == end - 1 else -1
            bar_of = Copied(closes, shift, chosen.velocity, held)
            source = index.opening[track, bar] + 1
            if chosen.hidden[i, bar - chosen.first]:
                out[at] = marks[FILL_IN]
                at += 1
                contents[written] = marks[FILL_START]
                written = _write_bar(tokens, source, bar_of, rules, contents, written + 1)
                contents[written] = marks[FILL_END]
                written += 1
            else:
                out[at] = marks[BAR_START]
                at = _write_bar(tokens, source, bar_of, rules, out, at + 1)
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
def _state(states: Cells, bar: int, family: int, chosen: WindowChoice, rules: Rules) -> int:
    """Return the token of one family that holds in a bar, TEMPO moved by the window's choice."""
    moves = chosen.tempo if family == rules.tempo_family else 0
    return wide(states[bar, family]) + moves


@kernel
def _write_head(
    tokens: Tokens, index: Index, track: int, rate: float, rules: Rules, out: Tokens, at: int
) -> int:
    """Write the tokens before the first bar of a track: its mark, instrument and density."""
    source = index.heads[track]
    out[at] = tokens[source]
    source, at = source + 1, at + 1
    while rules.kinds[tokens[source]] == INST:
        out[at] = tokens[source]
        source, at = source + 1, at + 1
    if rules.has_density and 0 <= wide(tokens[source]) - rules.density < DENSITY_LEVELS:
        # That of the window, not of the piece.
        level = rules.density
        for edge in rules.edges:
            level += edge <= rate
        out[at] = level
        at += 1
    return at


@kernel
def _steps(states: Cells, bar: int, rules: Rules) -> int:
    """Return the length of a bar."""
    metre = states[bar, rules.metre_family] - rules.metre if rules.metre_family >= 0 else 0
    return wide(rules.bar_steps[min(max(metre, 0), len(rules.bar_steps) - 1)])


@kernel
def _write_bar(
    tokens: Tokens, source: int, copied: Copied, rules: Rules, out: Tokens, at: int
) -> int:
    """Write the contents of a bar, without the ends of notes that began before the window."""
    kinds, values, held = rules.kinds, rules.values, copied.held
    now = done = 0
    token = tokens[source]
    kind = kinds[token]
    while kind not in (BAR_END, FILL_END, PIECE_END):
        value = wide(values[token])
        if kind == TIME_DELTA:
            now += value
        # An end without a beginning in the window is left out, and one at the barline that closes
        # the window is written by `_close`.
        elif kind != NOTE_OFF or (held[value] and now != copied.closes):
            if now > done:
                out[at] = rules.time_delta + now - done
                at, done = at + 1, now
            moves = copied.semitones if kind in (NOTE_ON, NOTE_OFF) else 0
            out[at] = token + (copied.velocity if kind == VELOCITY else moves)
            at += 1
            if kind == NOTE_ON:
                held[value] = True
            elif kind == NOTE_OFF:
                held[value] = False
        source += 1
        token = tokens[source]
        kind = kinds[token]
    if copied.closes > 0:
        at = _close(copied, done, rules, out, at)
    return at


@kernel
def _close(copied: Copied, done: int, rules: Rules, out: Tokens, at: int) -> int:
    """End all notes at the barline that closes the window, the lowest pitch first."""
    for pitch in range(PITCHES):
        if copied.held[pitch]:
            if copied.closes > done:
                out[at] = rules.time_delta + copied.closes - done
                at, done = at + 1, copied.closes
            out[at] = rules.note_off + pitch + copied.semitones
            at += 1
    return at
