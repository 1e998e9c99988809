"""Find the bars of a document among its tokens, and copy some of them as a window; compiled.

What a window holds is drawn by `window_plan_kernel`. The tokens are those that `codec.encode` and
`hidden_bars.hide` write for the same notes: a note belongs to the window it begins in and ends with
it at the latest.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.score.instruments import DRUMS
from megatron_music.score.jit import kernel, wide
from megatron_music.tokenizer import token_kinds as kinds
from megatron_music.tokenizer.vocabulary import PITCHES, TokenArray
from megatron_music.tokenizer.window_draw import IntArray, WindowTables

BoolArray = npt.NDArray[np.bool_]

METRE_COLUMN, TEMPO_COLUMN = range(2)

_FRAME = 8  # tokens of a track, or of a document, without its bars and notes


class IndexedDocument(NamedTuple):
    """A document from `start` on, and where its parts are, as places among all `tokens`.

    `track_at` [tracks] are the places of TRACK_START. `bar_at` [tracks, bars] are those of
    BAR_START, or of FILL_START where the bar is `hidden` [tracks, bars]. `marks` [bars, 2] are the
    METRE and the TEMPO token that hold in each bar, 0 in a vocabulary without them.
    """

    tokens: TokenArray
    start: int
    track_at: IntArray
    bar_at: IntArray
    hidden: BoolArray
    marks: IntArray


class TrackContents(NamedTuple):
    """What each track of a document holds in some bars, [tracks].

    How many notes begin, their lowest and highest pitch and level of velocity; drums or not.
    """

    notes: IntArray
    lowest: IntArray
    highest: IntArray
    softest: IntArray
    loudest: IntArray
    is_drums: BoolArray


class WindowContents(NamedTuple):
    """What a window holds: `bars` bars from `first_bar` on of `tracks`, in this order.

    `hidden` [tracks, bars] in that order, too. Pitches move by `semitones`, those of drums aside;
    TEMPO and VELOCITY tokens by levels.
    """

    first_bar: int
    bars: int
    tracks: IntArray
    hidden: BoolArray
    semitones: int
    tempo_shift: int
    velocity_shift: int


class BarCopy(NamedTuple):
    """How the tokens of a bar are copied: moved by semitones and levels of velocity.

    `sounding` are the pitches that sound, before they move. All end with the last bar of a window;
    `end_step` is its length, -1 in other bars.
    """

    end_step: int
    semitones: int
    velocity_shift: int
    sounding: BoolArray


@kernel
def index_document(
    tokens: TokenArray, start: int, end: int, tables: WindowTables
) -> tuple[bool, IndexedDocument]:
    """Return whether the tokens from `start` to `end` are a piece, and where its parts are."""
    # Counted first, so that the arrays have their sizes.
    tracks = cells = 0
    is_piece = end - start >= 3
    for at in range(start, end):
        if wide(tokens[at]) >= len(tables.kinds):
            is_piece = False
            break
        kind = tables.kinds[tokens[at]]
        tracks += kind == kinds.TRACK_START
        cells += kind in (kinds.BAR_START, kinds.FILL_IN)
    bars = cells // max(tracks, 1)
    is_piece = is_piece and bars > 0 and bars * tracks == cells
    # A document is returned in any case, since a kernel returns one type.
    if not is_piece:
        tracks = bars = 0
    document = IndexedDocument(
        tokens,
        start,
        np.zeros(tracks, np.int64),
        np.zeros((tracks, bars), np.int64),
        np.zeros((tracks, bars), np.bool_),
        np.zeros((bars, 2), np.int64),
    )
    return is_piece and _find_parts(document, end, tables), document


@kernel
def _find_parts(document: IndexedDocument, end: int, tables: WindowTables) -> bool:
    """Fill the arrays of a document; return whether its bars and hidden bars add up."""
    tokens, hidden, bar_at = document.tokens, document.hidden, document.bar_at
    tracks, bars = hidden.shape
    track, bar = -1, bars
    metre = tempo = 0
    for at in range(document.start, end):
        token = tokens[at]
        kind = tables.kinds[token]
        if kind == kinds.TRACK_START:
            if bar != bars:
                return False
            track, bar = track + 1, 0
            document.track_at[track] = at
        elif kind in (kinds.BAR_START, kinds.FILL_IN):
            if bar >= bars:  # also before the first track
                return False
            bar_at[track, bar] = at
            hidden[track, bar] = kind == kinds.FILL_IN
            if track == 0:
                document.marks[bar, METRE_COLUMN], document.marks[bar, TEMPO_COLUMN] = metre, tempo
            bar += 1
        # All tracks have the metres and tempi of the first, so these are read there.
        elif kind == kinds.METRE and track <= 0:
            metre = wide(token)
        elif kind == kinds.TEMPO and track <= 0:
            tempo = wide(token)
        elif kind == kinds.FILL_START:
            break
    is_whole = track == tracks - 1 and bar == bars
    is_whole = is_whole and wide(tables.kinds[tokens[end - 1]]) == kinds.PIECE_END
    return is_whole and _find_hidden_bars(document, end, tables)


@kernel
def _find_hidden_bars(document: IndexedDocument, end: int, tables: WindowTables) -> bool:
    """Give hidden bars the places of their contents; return whether there are as many of both.

    Contents follow all tracks, in the order of their bars.
    """
    tokens = document.tokens
    tracks, bars = document.hidden.shape
    at = document.track_at[0]
    for cell in range(tracks * bars + 1):  # once more, to see that no contents are left
        is_last = cell == tracks * bars
        if is_last or document.hidden[cell // bars, cell % bars]:
            while at < end and tables.kinds[tokens[at]] != kinds.FILL_START:
                at += 1
            if is_last or at == end:
                return bool(is_last and at == end)
            document.bar_at[cell // bars, cell % bars] = at
            at += 1
    return False


@kernel
def look_at_tracks(
    document: IndexedDocument, first_bar: int, bars: int, tables: WindowTables
) -> tuple[TrackContents, int]:
    """Return what the tracks hold in some bars, and the most tokens that a window of them has."""
    tokens, count = document.tokens, len(document.track_at)
    contents = TrackContents(
        np.zeros(count, np.int64),
        np.full(count, PITCHES, np.int64),
        np.full(count, -1, np.int64),
        np.full(count, tables.velocity_levels, np.int64),
        np.full(count, -1, np.int64),
        np.zeros(count, np.bool_),
    )
    most_tokens = _FRAME + document.track_at[0] - document.start
    for track in range(count):
        head = document.track_at[track]
        while tables.kinds[tokens[head]] != kinds.INST and head + 1 < document.bar_at[track, 0]:
            head += 1
        contents.is_drums[track] = tables.values[tokens[head]] == DRUMS
        # All pitches may sound at the end of the window, where they are closed.
        most_tokens += _FRAME + PITCHES + bars * 5
        for bar in range(first_bar, first_bar + bars):
            at = document.bar_at[track, bar] + 1
            kind = tables.kinds[tokens[at]]
            while kind not in (kinds.BAR_END, kinds.FILL_END, kinds.PIECE_END):
                value = wide(tables.values[tokens[at]])
                if kind == kinds.NOTE_ON:
                    contents.notes[track] += 1
                    contents.lowest[track] = min(contents.lowest[track], value)
                    contents.highest[track] = max(contents.highest[track], value)
                elif kind == kinds.VELOCITY:
                    contents.softest[track] = min(contents.softest[track], value)
                    contents.loudest[track] = max(contents.loudest[track], value)
                at += 1
                kind = tables.kinds[tokens[at]]
            most_tokens += at - document.bar_at[track, bar]
    return contents, most_tokens


@kernel
def copy_window(
    document: IndexedDocument,
    found: TrackContents,
    window: WindowContents,
    most_tokens: int,
    tables: WindowTables,
) -> TokenArray:
    """Return the tokens of a window, `most_tokens` of them at most; `found` is in its bars."""
    # The contents of hidden bars apart: they follow the tracks.
    out, fills = np.empty(most_tokens, np.uint16), np.empty(most_tokens, np.uint16)
    marks, first_bar = document.marks, window.first_bar
    at = filled = 0
    for source in range(document.start, document.track_at[0]):
        token = wide(document.tokens[source])
        if tables.kinds[token] == kinds.METRE:
            token = marks[first_bar, METRE_COLUMN]
        elif tables.kinds[token] == kinds.TEMPO:
            token = marks[first_bar, TEMPO_COLUMN] + window.tempo_shift
        out[at] = token
        at += 1
    last_bar = first_bar + window.bars - 1
    end_step = wide(tables.bar_steps[tables.values[marks[last_bar, METRE_COLUMN]]])
    sounding = np.zeros(PITCHES, np.bool_)
    for i in range(len(window.tracks)):
        track = window.tracks[i]
        semitones = 0 if found.is_drums[track] else window.semitones
        at = _copy_head(document, track, found.notes[track] / window.bars, tables, out, at)
        sounding[:] = False
        for bar in range(first_bar, last_bar + 1):
            if bar > first_bar:
                # Kept only where they change: else the next token overwrites them.
                out[at] = marks[bar, METRE_COLUMN]
                at += marks[bar, METRE_COLUMN] != marks[bar - 1, METRE_COLUMN]
                out[at] = marks[bar, TEMPO_COLUMN] + window.tempo_shift
                at += marks[bar, TEMPO_COLUMN] != marks[bar - 1, TEMPO_COLUMN]
            ends = end_step if bar == last_bar else -1
            how = BarCopy(ends, semitones, window.velocity_shift, sounding)
            source = document.bar_at[track, bar] + 1
            if window.hidden[i, bar - first_bar]:
                out[at] = kinds.FILL_IN
                at += 1
                fills[filled] = kinds.FILL_START
                filled = _copy_bar(document.tokens, source, how, tables, fills, filled + 1)
                fills[filled] = kinds.FILL_END
                filled += 1
            else:
                out[at] = kinds.BAR_START
                at = _copy_bar(document.tokens, source, how, tables, out, at + 1)
                out[at] = kinds.BAR_END
                at += 1
        out[at] = kinds.TRACK_END
        at += 1
    whole = np.empty(at + filled + 1, np.uint16)
    whole[:at] = out[:at]
    whole[at : at + filled] = fills[:filled]
    whole[at + filled] = kinds.PIECE_END
    return whole


@kernel
def _copy_head(
    document: IndexedDocument,
    track: int,
    notes_per_bar: float,
    tables: WindowTables,
    out: TokenArray,
    at: int,
) -> int:
    """Write the tokens before the first bar of a track: its mark, instrument and density."""
    out[at] = kinds.TRACK_START
    source, at = document.track_at[track] + 1, at + 1
    while tables.kinds[document.tokens[source]] == kinds.INST:
        out[at] = document.tokens[source]
        source, at = source + 1, at + 1
    if tables.kinds[document.tokens[source]] == kinds.DENSITY:
        # That of the window, not of the piece.
        level = tables.density
        for edge in tables.density_edges:
            level += edge <= notes_per_bar
        out[at] = level
        at += 1
    return at


@kernel
def _copy_bar(
    tokens: TokenArray, source: int, how: BarCopy, tables: WindowTables, out: TokenArray, at: int
) -> int:
    """Write the contents of a bar, without the ends of notes that began before the window."""
    sounding = how.sounding
    step = written_step = 0
    token = tokens[source]
    kind = tables.kinds[token]
    while kind not in (kinds.BAR_END, kinds.FILL_END, kinds.PIECE_END):
        value = wide(tables.values[token])
        if kind == kinds.TIME_DELTA:
            step += value
        # An end without a beginning in the window is left out, and one at the barline that closes
        # the window is written by `_end_notes`.
        elif kind != kinds.NOTE_OFF or (sounding[value] and step != how.end_step):
            if step > written_step:
                out[at] = tables.time_delta + step - written_step
                at, written_step = at + 1, step
            moves = how.semitones if kind in (kinds.NOTE_ON, kinds.NOTE_OFF) else 0
            out[at] = token + (how.velocity_shift if kind == kinds.VELOCITY else moves)
            at += 1
            if kind == kinds.NOTE_ON:
                sounding[value] = True
            elif kind == kinds.NOTE_OFF:
                sounding[value] = False
        source += 1
        token = tokens[source]
        kind = tables.kinds[token]
    if how.end_step > 0:
        at = _end_notes(how, written_step, tables, out, at)
    return at


@kernel
def _end_notes(
    how: BarCopy, written_step: int, tables: WindowTables, out: TokenArray, at: int
) -> int:
    """End all notes at the barline that closes the window, the lowest pitch first."""
    for pitch in range(PITCHES):
        if how.sounding[pitch]:
            if how.end_step > written_step:
                out[at] = tables.time_delta + how.end_step - written_step
                at, written_step = at + 1, how.end_step
            out[at] = tables.note_off + pitch + how.semitones
            at += 1
    return at
