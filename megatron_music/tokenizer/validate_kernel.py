"""The grammar of `tokenizer.grammar` over whole data sets, compiled.

`suspects` passes over the documents that are surely legal; what it gives is for
`tokenizer.grammar.check` to judge, which also says what is wrong. Of documents without hidden bars
it gives just the illegal ones; those with hidden bars are passed over as `tokenizer.fill.hide`
writes them.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.score.compiled import kernel, wide
from megatron_music.tokenizer.syllable_kernel import NOT_SUNG, goes_on, sung_after
from megatron_music.tokenizer.vocabulary import PITCHES, Kind, Vocabulary

Tokens = npt.NDArray[np.generic]
Cells = npt.NDArray[np.int32]

NOTE_ON, NOTE_OFF, TIME_DELTA, INST, DENSITY, ATTRIBUTE = 1, 2, 3, 4, 5, 6
PIECE_START, PIECE_END, TRACK_START, TRACK_END = 7, 8, 9, 10
BAR_START, BAR_END, FILL_IN, FILL_START, FILL_END, METRE = 11, 12, 13, 14, 15, 16
VELOCITY, TEMPO, SYLLABLE = 17, 18, 19

_KINDS = {
    Kind.NOTE_ON: NOTE_ON,
    Kind.NOTE_OFF: NOTE_OFF,
    Kind.TIME_DELTA: TIME_DELTA,
    Kind.INST: INST,
    Kind.DENSITY: DENSITY,
    Kind.METRE: METRE,
    Kind.VELOCITY: VELOCITY,
    Kind.TEMPO: TEMPO,
    Kind.SYLLABLE: SYLLABLE,
    Kind.ATTRIBUTE: ATTRIBUTE,
}
_MARKS = {
    "PIECE_START": PIECE_START,
    "PIECE_END": PIECE_END,
    "TRACK_START": TRACK_START,
    "TRACK_END": TRACK_END,
    "BAR_START": BAR_START,
    "BAR_END": BAR_END,
    "FILL_IN": FILL_IN,
    "FILL_START": FILL_START,
    "FILL_END": FILL_END,
}

_SILENT = -1
_NOTES, _SOUNDING, _FIRST, _LENGTH = range(4)
_REFUSED = _UNKNOWN = -1
_MOST_BARS = 1 << 12  # longer documents are for the grammar itself to judge


class TokenTable(NamedTuple):
    """What decides which tokens are legal: of each id its kind (0: none) and its value.

    `bar_steps` are the lengths of bars by their metre.
    """

    kinds: Cells
    values: Cells
    bar_steps: Cells
    density: bool
    metres: bool
    velocities: bool
    tempos: bool


class Track(NamedTuple):
    """What is known of a track: each pitch's onset in steps, `counts`, `metres` and `tempos`.

    Counted are its notes, those that sound, the steps before the bar, and those of the bar. The
    metres and tempi are those of the bars, in all tracks alike.
    """

    onsets: Cells
    counts: Cells
    metres: Cells
    tempos: Cells


def new_track() -> Track:
    """Return a track of which nothing is known."""
    return Track(
        np.empty(PITCHES, np.int32),
        np.zeros(4, np.int32),
        np.zeros(_MOST_BARS, np.int32),
        np.zeros(_MOST_BARS, np.int32),
    )


def suspect_documents(tokens: Tokens, lengths: Cells, vocabulary: Vocabulary) -> Iterator[int]:
    """Yield the indices of the documents that are not surely legal.

    `tokens` holds the documents one behind another; `lengths`, none negative, add up to its size.
    """
    form = token_table(vocabulary)
    track = new_track()
    tokens = np.asarray(tokens).view()
    tokens.flags.writeable = False  # as a memory map is: one compiled kernel for both
    ends = np.cumsum(lengths, dtype=np.int64)
    document = 0
    while (document := first_suspect(tokens, ends, document, form, track)) < len(ends):
        yield document
        document += 1


def token_table(vocabulary: Vocabulary) -> TokenTable:
    """Return what the kernels have to know of a vocabulary."""
    kinds = [_KINDS.get(kind, 0) for kind, _ in vocabulary.meanings]
    for name, kind in _MARKS.items():
        kinds[vocabulary.ids[name]] = kind
    return TokenTable(
        np.array(kinds, np.int32),
        np.array([value for _, value in vocabulary.meanings], np.int32),
        np.array(vocabulary.bar_steps, np.int32),
        vocabulary.settings.density,
        vocabulary.has_metres,
        vocabulary.has_velocities,
        vocabulary.has_tempos,
    )


@kernel
def first_suspect(
    tokens: Tokens, ends: npt.NDArray[np.int64], first: int, form: TokenTable, track: Track
) -> int:
    """Return the first document, from `first` on, that is not surely legal; else their number."""
    for document in range(first, len(ends)):
        start = ends[document - 1] if document > 0 else 0
        if not _is_piece(tokens, start, ends[document], form, track):
            return document
    return len(ends)


@kernel
def _is_piece(tokens: Tokens, start: int, end: int, form: TokenTable, track: Track) -> bool:
    """Say whether the tokens from `start` to `end` are one whole piece."""
    if kind_of(tokens, start, end, form) != PIECE_START:
        return False
    at = start + 1
    attribute = -1
    while kind_of(tokens, at, end, form) == ATTRIBUTE:
        if wide(tokens[at]) <= attribute:
            return False
        attribute = wide(tokens[at])
        at += 1
    track.metres[0] = 0
    if form.metres:
        at = _behind_first(tokens, at, end, METRE, form, track.metres)
    if form.tempos:
        at = _behind_first(tokens, at, end, TEMPO, form, track.tempos)
    bars, told = 0, _UNKNOWN
    while kind_of(tokens, at, end, form) == TRACK_START:
        at, told, bars = _behind_track(tokens, at + 1, told, end, bars, form, track)
        if at == _REFUSED:
            return False
    if told != _UNKNOWN and at == _first_told(tokens, start, end, form):
        at = told
    return bars > 0 and at == end - 1 and kind_of(tokens, at, end, form) == PIECE_END


@kernel
def kind_of(tokens: Tokens, at: int, end: int, form: TokenTable) -> int:
    """Return the kind of a token; 0 behind the end and outside the vocabulary."""
    if at >= end:
        return 0
    token = wide(tokens[at])
    # Compiled code checks no bounds: an id out of range would read whatever lies behind the table.
    return wide(form.kinds[token]) if 0 <= token < len(form.kinds) else 0


@kernel
def _first_told(tokens: Tokens, at: int, end: int, form: TokenTable) -> int:
    """Return where the contents of hidden bars begin; `end` if there are none."""
    while at < end and kind_of(tokens, at, end, form) != FILL_START:
        at += 1
    return at


@kernel
def _behind_track(
    tokens: Tokens, at: int, told: int, end: int, bars: int, form: TokenTable, track: Track
) -> tuple[int, int, int]:
    """Return the places behind a track and behind the contents of its hidden bars, and its bars.

    `told` is where the contents of further hidden bars stand, -1 if there was none so far; `bars`
    the number of bars it has to have, 0 if that is open. The first place is -1 for a bad track.
    """
    refused = _REFUSED, told, bars
    if kind_of(tokens, at, end, form) != INST:
        return refused
    if form.density and kind_of(tokens, at + 1, end, form) != DENSITY:
        return refused
    at += 2 if form.density else 1
    track.onsets[:] = _SILENT
    track.counts[:] = 0
    bar = 0
    while True:
        at = _behind_marks(tokens, at, end, bar, bars, form, track)
        kind = kind_of(tokens, at, end, form)
        at += 1
        if kind == TRACK_END:
            whole = bar > 0 and bars in (0, bar)
            heard = track.counts[_NOTES] > 0 and track.counts[_SOUNDING] == 0
            return (at, told, bar) if whole and heard else refused
        if bar == bars and bars > 0:
            return refused
        last = bar + 1 == bars
        track.counts[_FIRST] += track.counts[_LENGTH]
        track.counts[_LENGTH] = form.bar_steps[track.metres[bar] if form.metres else 0]
        # Only a document with hidden bars pays for the search through all of its tokens.
        if kind == FILL_IN and told == _UNKNOWN:
            told = _first_told(tokens, at, end, form)
        if kind == BAR_START:
            at = _behind_bar(tokens, at, end, BAR_END, last, form, track)
        elif kind == FILL_IN and kind_of(tokens, told, end, form) == FILL_START:
            told = _behind_bar(tokens, told + 1, end, FILL_END, last, form, track)
            at = at if told != _REFUSED else _REFUSED
        else:
            return refused
        if at == _REFUSED:
            return refused
        bar += 1


@kernel
def _behind_first(
    tokens: Tokens, at: int, end: int, mark: int, form: TokenTable, told: Cells
) -> int:
    """Take in METRE or TEMPO at the head; return the place behind it, `end` if there is none."""
    if kind_of(tokens, at, end, form) != mark:
        return end
    told[0] = form.values[tokens[at]]
    return at + 1


@kernel
def _behind_marks(
    tokens: Tokens, at: int, end: int, bar: int, bars: int, form: TokenTable, track: Track
) -> int:
    """Take in METRE and TEMPO before a bar; return the place behind them, `end` if not legal."""
    first = at
    if form.metres:
        at = _behind_mark(tokens, at, end, bar, bars, METRE, form, track.metres)
    if form.tempos:
        at = _behind_mark(tokens, at, end, bar, bars, TEMPO, form, track.tempos)
    return end if at > first and kind_of(tokens, at, end, form) == TRACK_END else at


@kernel
def _behind_mark(
    tokens: Tokens, at: int, end: int, bar: int, bars: int, mark: int, form: TokenTable, told: Cells
) -> int:
    """Take in METRE or TEMPO before a bar; return the place behind it, `end` if not legal.

    `told` are those of the bars. The first track decides them; the others, whose number of `bars`
    is known, have to tell the same. The first bar of a track has that of the head.
    """
    kind = kind_of(tokens, at, end, form)
    if bar == 0 or kind == TRACK_END:
        return at
    if bar >= len(told):
        return end
    before = told[bar - 1]
    now = form.values[tokens[at]] if kind == mark else before
    if bars == 0:
        told[bar] = now
    if told[bar] != now or (kind == mark and now == before):
        return end
    return at + (kind == mark)


@kernel
def _behind_bar(
    tokens: Tokens,
    at: int,
    end: int,
    closing: int,
    last: bool,
    form: TokenTable,
    track: Track,
) -> int:
    """Return the place behind the token that closes a bar; -1 if the bar is not legal."""
    onsets, counts = track.onsets, track.counts
    first = step = wide(counts[_FIRST])
    barline = first + wide(counts[_LENGTH])
    told, sung = 0, NOT_SUNG
    while at < end:
        kind = kind_of(tokens, at, end, form)
        value = wide(form.values[tokens[at]]) if kind != 0 else 0
        at += 1
        told = _told(kind, value, told, form)
        kind = kind if told != _REFUSED else 0
        sung, is_sung = _sung(kind, value, sung)
        if kind == NOTE_ON:
            if onsets[value] != _SILENT or step == barline:
                return _REFUSED
            onsets[value] = step
            counts[_NOTES] += 1
            counts[_SOUNDING] += 1
        elif kind == NOTE_OFF:
            if onsets[value] == _SILENT or onsets[value] == step or step == first:
                return _REFUSED
            onsets[value] = _SILENT
            counts[_SOUNDING] -= 1
        elif kind == TIME_DELTA:
            step += value
            if step > barline or (step == barline and last and counts[_NOTES] == 0):
                return _REFUSED
        elif kind == closing:
            silent = counts[_SOUNDING] == 0 and counts[_NOTES] > 0
            return at if silent or not last else _REFUSED
        elif kind != VELOCITY and not is_sung:
            return _REFUSED
    return _REFUSED


@kernel
def _sung(kind: int, value: int, sung: int) -> tuple[int, bool]:
    """Return the bytes of a syllable behind a token of a bar, and whether it is a legal part."""
    if kind == SYLLABLE:
        return sung_after(value, sung), goes_on(value, sung)
    return (0 if kind == NOTE_ON else NOT_SUNG), False


@kernel
def _told(kind: int, value: int, told: int, form: TokenTable) -> int:
    """Return what is told of velocity behind a token of a bar; -1 where the token is not legal.

    That is 0 for nothing, 2 level + 2 for a level, and one more where its NOTE_ON is still to come.
    """
    announced = told % 2 == 1
    if kind == VELOCITY:
        return _REFUSED if announced or told == 2 * value + 2 else 2 * value + 3
    if announced:
        return told - 1 if kind == NOTE_ON else _REFUSED
    return _REFUSED if kind == NOTE_ON and told == 0 and form.velocities else told
