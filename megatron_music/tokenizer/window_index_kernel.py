"""Index the bars and tracks of a whole piece among its tokens, in one pass; compiled."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.score.compiled import kernel, wide

Cells = npt.NDArray[np.int64]
Tokens = npt.NDArray[np.uint16]

OTHER, NOTE_ON, NOTE_OFF, TIME_DELTA, INST, STATE, TRACK_START, TRACK_END = range(8)
BAR_START, BAR_END, FILL_IN, FILL_START, FILL_END, PIECE_START, PIECE_END = range(8, 15)
VELOCITY = 15
"""The kinds of tokens; STATE holds until the next of its family, and is between bars (METRE)."""


class Rules(NamedTuple):
    """A vocabulary as the kernels take it.

    `kinds` and `values` have a cell for each id: a pitch, steps, an instrument's code, a level, or
    for tokens between bars the number of their family (-1: no METRE or TEMPO tokens). `tempi` and
    `velocities` are the numbers of levels; TEMPO tokens begin with `tempo`. `bar_steps` are
    the lengths of bars by METRE token, from `metre` on. `marks` are the ids of the marks by kind.
    """

    kinds: npt.NDArray[np.int8]
    values: npt.NDArray[np.int32]
    families: int
    bar_steps: npt.NDArray[np.int32]
    metre: int
    metre_family: int
    tempo: int
    tempo_family: int
    tempi: int
    velocities: int
    note_on: int
    note_off: int
    time_delta: int
    inst: int
    density: int
    has_density: bool
    edges: npt.NDArray[np.float64]
    marks: npt.NDArray[np.uint16]


class Index(NamedTuple):
    """Where the parts of a document are, as places among all tokens.

    `opening[track, bar]` is the place of BAR_START, or of FILL_START where the bar is `hidden`.
    `states[bar, family]` are the tokens that hold in a bar. `heads` are the places of TRACK_START;
    `body` is that of the first, and the document is from `start` on.
    """

    opening: npt.NDArray[np.int64]
    hidden: npt.NDArray[np.bool_]
    states: npt.NDArray[np.int64]
    heads: Cells
    start: int
    body: int


@kernel
def index_document(tokens: Tokens, start: int, end: int, rules: Rules) -> tuple[bool, Index]:
    """Return whether the tokens from `start` to `end` are a document, and its index."""
    kinds = rules.kinds
    # Counted first, so that the arrays have their sizes.
    tracks = cells = contents = 0
    fault = end - start < 3
    for at in range(start, end):
        if wide(tokens[at]) >= len(kinds):
            fault = True
            break
        kind = kinds[tokens[at]]
        tracks += kind == TRACK_START
        cells += kind in (BAR_START, FILL_IN)
        contents += kind == FILL_START
    bars = cells // max(tracks, 1)
    fault = fault or tracks == 0 or bars == 0 or bars * tracks != cells
    # An index is returned in any case, since a kernel returns one type.
    if fault:
        tracks = bars = contents = 0
    opening = np.zeros((tracks, bars), np.int64)
    hidden = np.zeros((tracks, bars), np.bool_)
    states = np.zeros((bars, rules.families), np.int64)
    heads = np.zeros(tracks, np.int64)
    now = np.zeros(rules.families, np.int64)
    index = Index(opening, hidden, states, heads, start, start)
    if fault:
        return False, index
    return _fill_index(tokens, start, end, now, contents, index, rules)


@kernel
def _fill_index(
    tokens: Tokens,
    start: int,
    end: int,
    now: Cells,
    contents: int,
    index: Index,
    rules: Rules,
) -> tuple[bool, Index]:
    """Index a document; return whether its bars and contents add up."""
    kinds, opening = rules.kinds, index.opening
    tracks, bars = opening.shape
    track, bar, body = -1, bars, end
    for at in range(start, end):
        kind = kinds[tokens[at]]
        if kind == TRACK_START:
            if bar != bars:
                return False, index
            track, bar = track + 1, 0
            body = min(body, at)
            index.heads[track] = at
        elif kind in (BAR_START, FILL_IN):
            if bar >= bars:  # also before the first track
                return False, index
            opening[track, bar] = at
            index.hidden[track, bar] = kind == FILL_IN
            if track == 0:
                index.states[bar, :] = now
            bar += 1
        # All tracks have the metres and tempi of the first, so these are read there.
        elif kind == STATE and track <= 0:
            now[rules.values[tokens[at]]] = wide(tokens[at])
        elif kind == FILL_START:
            break
    is_whole = track == tracks - 1 and bar == bars and kinds[tokens[end - 1]] == PIECE_END
    is_whole = is_whole and _find_contents(tokens, body, end, contents, index, rules)
    return is_whole, Index(opening, index.hidden, index.states, index.heads, start, body)


@kernel
def _find_contents(
    tokens: Tokens, body: int, end: int, contents: int, index: Index, rules: Rules
) -> bool:
    """Give hidden bars the places of their contents; return whether there are as many of both."""
    tracks, bars = index.opening.shape
    at, found = body, 0
    for cell in range(tracks * bars):
        if index.hidden[cell // bars, cell % bars]:
            while at < end and rules.kinds[tokens[at]] != FILL_START:
                at += 1
            if at == end:
                return False
            index.opening[cell // bars, cell % bars] = at
            at, found = at + 1, found + 1
    return found == contents
