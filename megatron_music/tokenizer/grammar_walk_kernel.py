"""Songs followed by the grammar, compiled: a token taken, the next ones marked, documents checked.

`grammar_rules_kernel` says which tokens are legal. A song is a row of `State`. In whole documents
hidden bars are followed where they stood; of documents with hidden bars only those are passed over
that `tokenizer.hidden_bars.hide` could have written; `grammar.check` judges the others.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from megatron_music.score.instruments import VOICES
from megatron_music.score.jit import borrowing_kernel, inlined, wide
from megatron_music.tokenizer import grammar_state as at
from megatron_music.tokenizer import token_kinds as kinds
from megatron_music.tokenizer.grammar_rules_kernel import LEGAL, owed_after, refuse, refuse_form
from megatron_music.tokenizer.grammar_state import (
    Masks,
    OpenNotes,
    Plan,
    Rules,
    State,
    new_rules,
    new_song,
)
from megatron_music.tokenizer.token_kinds import Cells
from megatron_music.tokenizer.vocabulary import Vocabulary

Tokens = npt.NDArray[np.generic]

TRACK, ONSET, NOTE_END, PITCH, LEVEL, PLACE = range(6)
NOTE_COLUMNS = 6
"""What `follow_tokens` tells of a note that has ended."""

_UNKNOWN = _OUTSIDE = -1
_FIRST_VOICE, _LAST_VOICE = VOICES[0], VOICES[-1]


@borrowing_kernel
def song_of(state: State, song: int) -> State:
    """Return the state of one song, as views."""
    return State(state.cells[song], state.onsets[song], state.wanted[song], state.marks[song])


@borrowing_kernel
def begin(song: State, start: Cells) -> None:
    """Put a song back to where it has not begun; `start` are its cells there."""
    for column in range(len(start)):
        song.cells[column] = start[column]
    song.onsets[:] = at.SILENT


@inlined
def step(token: int, song: State, rules: Rules) -> int:
    """Take a token if it is legal; return LEGAL, or the reason why it is not."""
    reason = refuse(token, song, rules)
    if reason == LEGAL:
        take(token, song, rules)
    return reason


@inlined
def take(token: int, song: State, rules: Rules) -> None:
    """Move a song past a legal token."""
    cells = song.cells
    kind, value = rules.table.kinds[token], rules.table.values[token]
    cells[at.LENGTH] += 1
    if kind >= kinds.NOTE_ON:
        take_music(kind, value, song, rules)
    elif kind == kinds.BAR_END:
        cells[at.PHASE] = at.BETWEEN_BARS
        cells[at.BAR] += 1
        cells[at.BAR_START] += cells[at.BAR_STEPS]
        cells[at.STEP] = cells[at.STRUCK] = 0
        cells[at.VELOCITY], cells[at.SUNG] = at.UNTOLD, at.NOT_SUNG
    else:
        _take_frame(kind, value, song, rules)


@inlined
def take_music(kind: int, value: int, song: State, rules: Rules) -> None:
    """Move a song past a legal token in a bar."""
    cells = song.cells
    sung, cells[at.SUNG] = cells[at.SUNG], at.NOT_SUNG
    if kind == kinds.NOTE_ON:
        song.onsets[value] = cells[at.BAR_START] + cells[at.STEP]
        cells[at.NOTES] += 1
        cells[at.SOUNDING] += 1
        cells[at.STRUCK] = 1
        cells[at.ANNOUNCED] = 0
        cells[at.SUNG] = 0 if rules.has_lyrics else at.NOT_SUNG
    elif kind == kinds.NOTE_OFF:
        song.onsets[value] = at.SILENT
        cells[at.SOUNDING] -= 1
    elif kind == kinds.TIME_DELTA:
        cells[at.STEP] += value
        cells[at.STRUCK] = 0
    elif kind == kinds.VELOCITY:
        cells[at.VELOCITY], cells[at.ANNOUNCED] = value, 1
    else:
        cells[at.SUNG] = sung_after(value, sung)


@inlined
def _take_frame(kind: int, value: int, song: State, rules: Rules) -> None:
    """Take a token outside of bars."""
    cells = song.cells
    if kind == kinds.BAR_START:
        cells[at.PHASE] = at.IN_BAR
        cells[at.CHANGED] = 0
        cells[at.BAR_STEPS] = rules.bar_steps[cells[at.METRE]]
        # The first track decides the bars of all: later ones are compared with its marks.
        if cells[at.TRACKS] == 1 and cells[at.BAR] < song.marks.shape[1]:
            song.marks[0, cells[at.BAR]] = cells[at.METRE]
            song.marks[1, cells[at.BAR]] = cells[at.TEMPO]
    elif kind == kinds.TRACK_START:
        cells[at.PHASE] = at.INSTRUMENT
        cells[at.TRACKS] += 1
        cells[at.BAR] = cells[at.STEP] = cells[at.BAR_START] = 0
        cells[at.NOTES] = cells[at.CHANGES_TOLD] = 0
        cells[at.METRE], cells[at.TEMPO] = cells[at.HEAD_METRE], cells[at.HEAD_TEMPO]
        cells[at.BAR_STEPS] = rules.bar_steps[cells[at.METRE]]
    elif kind == kinds.INST:
        cells[at.PHASE] = at.DENSITY if rules.has_density else at.BETWEEN_BARS
        cells[at.VOICE] = rules.single_voices and _FIRST_VOICE <= value <= _LAST_VOICE
        cells[at.FULL] = cells[at.VOICE] and rules.full_bars
        cells[at.LEVEL] = rules.levels[value]
        song.wanted[value] -= 1
    elif kind == kinds.DENSITY:
        cells[at.PHASE] = at.BETWEEN_BARS
    elif kind == kinds.TRACK_END:
        cells[at.PHASE] = at.BETWEEN_TRACKS
        cells[at.PIECE_BARS] = cells[at.BAR]
    elif kind == kinds.METRE:
        _take_change(value, at.METRE, at.HEAD_METRE, at.METRE_TOLD, cells)
    elif kind == kinds.TEMPO:
        _take_change(value, at.TEMPO, at.HEAD_TEMPO, at.TEMPO_TOLD, cells)
    elif kind == kinds.ATTRIBUTE:
        cells[at.ATTRIBUTE] = value
    else:
        cells[at.PHASE] = at.HEAD if kind == kinds.PIECE_START else at.END


@borrowing_kernel
def _take_change(value: int, column: int, head: int, told: int, cells: Cells) -> None:
    """Take a metre or a tempo."""
    cells[column] = value
    if cells[at.PHASE] == at.HEAD:
        cells[head] = value
    else:
        cells[at.CHANGED] |= told
        cells[at.CHANGES_TOLD] += 1
        cells[at.CHANGES] += cells[at.TRACKS] == 1


@borrowing_kernel
def sung_after(part_bytes: int, sung: int) -> int:
    """Return the bytes of a syllable of `sung` bytes after a part of it; a mark (0) ends it."""
    return sung + part_bytes if part_bytes else at.NOT_SUNG


@borrowing_kernel
def take_tokens(tokens: Cells, state: State, rules: Rules) -> None:
    """Move each song past its next legal tokens, [songs, any number]; none after its end."""
    for song in range(tokens.shape[0]):
        one = song_of(state, song)
        for place in range(tokens.shape[1]):
            if one.cells[at.PHASE] != at.END:
                take(tokens[song, place], one, rules)


@borrowing_kernel
def mark_legal(state: State, rules: Rules, masks: Masks) -> None:
    """Write the legal next tokens of each song to masks [songs, vocabulary]."""
    # In place: the caller keeps one array for all steps of a song.
    masks[:] = False
    for song in range(masks.shape[0]):
        mark_song(song_of(state, song), rules, masks[song])


@borrowing_kernel
def mark_song(song: State, rules: Rules, mask: Masks) -> None:
    """Mark the legal next tokens of one song in a mask that is False everywhere."""
    # By runs of ids of one kind: most kinds are not legal, and are passed over in one look.
    left = rules.max_tokens - song.cells[at.LENGTH] - 1
    for run in range(len(rules.table.runs)):
        kind, first, last = rules.table.runs[run]
        if not _may_come(kind, song.cells):
            continue
        differ = kind in (kinds.TIME_DELTA, kinds.ATTRIBUTE)  # in what they owe
        if not differ and owed_after(kind, rules.table.values[first], song, rules) > left:
            continue
        for token in range(first, last):
            value = rules.table.values[token]
            if refuse_form(kind, value, song, rules) == LEGAL:
                mask[token] = not differ or owed_after(kind, value, song, rules) <= left


@borrowing_kernel
def _may_come(kind: int, cells: Cells) -> bool:
    """Tell in one look whether a token of a kind may be legal: most kinds are not."""
    if kind == kinds.SYLLABLE:
        return bool(cells[at.SUNG] != at.NOT_SUNG)
    if kind == kinds.NOTE_OFF and not cells[at.SOUNDING]:
        return False
    is_next = kind == kinds.NOTE_ON or not cells[at.ANNOUNCED]
    return bool(is_next and at.PHASES_OF_KIND[kind] >> cells[at.PHASE] & 1)


@borrowing_kernel
def follow_tokens(
    tokens: Cells, song: State, rules: Rules, opened: OpenNotes, notes: Cells
) -> tuple[int, int, int]:
    """Take tokens up to the first that is not legal.

    Returns how many were taken, the reason why the next one is not legal, and how many notes ended:
    rows of `notes` [tokens, columns] have the track, from 0, onset, end, pitch, level of velocity
    and the place of the NOTE_ON among all tokens.
    """
    cells = song.cells
    ended = 0
    for place in range(len(tokens)):
        token = tokens[place]
        reason = refuse(token, song, rules)
        if reason != LEGAL:
            return place, reason, ended
        kind, pitch = rules.table.kinds[token], rules.table.values[token]
        if kind == kinds.NOTE_ON:
            opened.levels[pitch], opened.places[pitch] = cells[at.VELOCITY], cells[at.LENGTH]
        elif kind == kinds.NOTE_OFF:
            row = notes[ended]
            row[TRACK], row[PITCH], row[ONSET] = cells[at.TRACKS] - 1, pitch, song.onsets[pitch]
            row[NOTE_END] = cells[at.BAR_START] + cells[at.STEP]
            row[LEVEL], row[PLACE] = opened.levels[pitch], opened.places[pitch]
            ended += 1
        take(token, song, rules)
    return len(tokens), LEGAL, ended


@borrowing_kernel
def mark_along(tokens: Cells, song: State, rules: Rules, masks: Masks) -> int:
    """Take legal tokens; write the legal next ones after each to masks [tokens, vocabulary].

    Returns how many were taken, fewer than there are masks where one is not legal.
    """
    masks[:] = False
    for place in range(len(masks)):
        if step(tokens[place], song, rules) != LEGAL:
            return place
        mark_song(song, rules, masks[place])
    return len(masks)


def suspect_documents(
    tokens: Tokens, lengths: npt.NDArray[np.int32], vocabulary: Vocabulary
) -> Iterator[int]:
    """Yield the indices of the documents that are not surely legal.

    `tokens` holds the documents one after another; `lengths`, none negative, add up to its size.
    """
    rules = new_rules(vocabulary, Plan())
    song = new_song(Plan(), rules, most_bars=int(lengths.max(initial=0)) + 1)
    start = song.cells.copy()
    tokens = np.asarray(tokens).view()
    tokens.flags.writeable = False  # as a memory map is: one compiled kernel for both
    ends = np.cumsum(lengths, dtype=np.int64)
    document = 0
    while (document := first_suspect(tokens, ends, document, start, song, rules)) < len(ends):
        yield document
        document += 1


@borrowing_kernel
def first_suspect(
    tokens: Tokens, ends: Cells, first: int, start: Cells, song: State, rules: Rules
) -> int:
    """Return the first document, from `first` on, that is not surely legal; else their number.

    `start` are the cells of a song that has not begun.
    """
    for document in range(first, len(ends)):
        first_token = ends[document - 1] if document > 0 else 0
        begin(song, start)
        if not _is_piece(tokens[first_token : ends[document]], song, rules):
            return document
    return len(ends)


@borrowing_kernel
def _is_piece(tokens: Tokens, song: State, rules: Rules) -> bool:  # noqa: C901 (two walks in one)
    """Tell whether tokens are one whole piece.

    A hidden bar is read where it stood: `told` is the place of the next one's content.
    """
    place, told, first_told, in_hidden = 0, _UNKNOWN, _UNKNOWN, False
    # One call of `step` for both walks: each is inlined, and takes ten seconds to compile.
    while place < len(tokens):
        token = _token_at(told if in_hidden else place, tokens)
        kind = kind_of(token, rules)
        if in_hidden:
            if kind == kinds.BAR_END:
                return False
            if kind == kinds.FILL_END:
                token = kinds.BAR_END
        elif kind == kinds.FILL_IN:
            # Only a document with hidden bars pays for the search through all of its tokens.
            if told == _UNKNOWN:
                told = first_told = _first_content(tokens, place, rules)
            if kind_of(_token_at(told, tokens), rules) != kinds.FILL_START:
                return False
            token, in_hidden = kinds.BAR_START, True
        elif kind == kinds.FILL_START and place == first_told:
            if song.cells[at.PHASE] != at.BETWEEN_TRACKS:
                return False
            place = told
            continue
        if step(token, song, rules) != LEGAL:
            return False
        if in_hidden:
            told += 1
            in_hidden = kind != kinds.FILL_END
        if not in_hidden:
            place += 1
    whole: bool = song.cells[at.PHASE] == at.END
    return whole


@borrowing_kernel
def _first_content(tokens: Tokens, place: int, rules: Rules) -> int:
    """Return the place of the first FILL_START from a place on; the end if there is none."""
    while place < len(tokens) and kind_of(wide(tokens[place]), rules) != kinds.FILL_START:
        place += 1
    return place


@borrowing_kernel
def _token_at(place: int, tokens: Tokens) -> int:
    """Return the token at a place; past the end one that is not legal."""
    return wide(tokens[place]) if place < len(tokens) else _OUTSIDE


@borrowing_kernel
def kind_of(token: int, rules: Rules) -> int:
    """Return the kind of a token; PAD outside the vocabulary."""
    # Compiled code checks no bounds: an id out of range would read what comes after the table.
    kind: int = rules.table.kinds[token] if 0 <= token < len(rules.table.kinds) else kinds.PAD
    return kind
