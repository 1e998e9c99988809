"""Songs followed by the grammar, compiled: the legal next tokens of each, and notes that end.

A song is a row of `State`. What is owed after a token is the same for most tokens of a kind, so
that it is counted once a kind; `grammar_kernel` says which of them are legal.
"""

from typing import NamedTuple

import numpy as np

from megatron_music.score.jit import borrowing_kernel
from megatron_music.tokenizer import grammar_reasons as reasons
from megatron_music.tokenizer import token_kinds as kinds
from megatron_music.tokenizer.grammar_budget_kernel import owed_after
from megatron_music.tokenizer.grammar_kernel import refuse, refuse_form, song_of, step, take
from megatron_music.tokenizer.grammar_state import (
    ANNOUNCED,
    BAR_START,
    END,
    LENGTH,
    NOT_SUNG,
    PHASE,
    PHASES_OF_KIND,
    SOUNDING,
    STEP,
    SUNG,
    TRACKS,
    VELOCITY,
    Masks,
    Rules,
    State,
)
from megatron_music.tokenizer.token_kinds import Cells
from megatron_music.tokenizer.vocabulary import PITCHES

TRACK, ONSET, NOTE_END, PITCH, LEVEL, PLACE = range(6)
NOTE_COLUMNS = 6


class OpenNotes(NamedTuple):
    """Of the notes that sound, by pitch: their levels of velocity and the places of NOTE_ON."""

    levels: Cells
    places: Cells


def new_open_notes() -> OpenNotes:
    """Return what is known before the first note."""
    return OpenNotes(np.zeros(PITCHES, np.int64), np.zeros(PITCHES, np.int64))


@borrowing_kernel
def take_tokens(tokens: Cells, state: State, rules: Rules) -> None:
    """Move each song past its next legal tokens, [songs, any number]; none after its end."""
    for song in range(tokens.shape[0]):
        one = song_of(state, song)
        for place in range(tokens.shape[1]):
            if one.cells[PHASE] != END:
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
    left = rules.max_tokens - song.cells[LENGTH] - 1
    for run in range(len(rules.table.runs)):
        kind, first, last = rules.table.runs[run]
        if not _may_come(kind, song.cells):
            continue
        if kind in (kinds.TIME_DELTA, kinds.ATTRIBUTE):  # each token of its own
            for token in range(first, last):
                value = rules.table.values[token]
                if refuse_form(kind, value, song, rules) == reasons.LEGAL:
                    mask[token] = owed_after(kind, value, song, rules) <= left
        elif owed_after(kind, rules.table.values[first], song, rules) <= left:
            for token in range(first, last):
                value = rules.table.values[token]
                mask[token] = refuse_form(kind, value, song, rules) == reasons.LEGAL


@borrowing_kernel
def _may_come(kind: int, cells: Cells) -> bool:
    """Tell in one look whether a token of a kind may be legal: most kinds are not."""
    if kind == kinds.SYLLABLE:
        return bool(cells[SUNG] != NOT_SUNG)
    if kind == kinds.NOTE_OFF and not cells[SOUNDING]:
        return False
    is_next = kind == kinds.NOTE_ON or not cells[ANNOUNCED]
    return bool(is_next and PHASES_OF_KIND[kind] >> cells[PHASE] & 1)


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
        if reason != reasons.LEGAL:
            return place, reason, ended
        kind, pitch = rules.table.kinds[token], rules.table.values[token]
        if kind == kinds.NOTE_ON:
            opened.levels[pitch], opened.places[pitch] = cells[VELOCITY], cells[LENGTH]
        elif kind == kinds.NOTE_OFF:
            row = notes[ended]
            row[TRACK], row[PITCH], row[ONSET] = cells[TRACKS] - 1, pitch, song.onsets[pitch]
            row[NOTE_END] = cells[BAR_START] + cells[STEP]
            row[LEVEL], row[PLACE] = opened.levels[pitch], opened.places[pitch]
            ended += 1
        take(token, song, rules)
    return len(tokens), reasons.LEGAL, ended


@borrowing_kernel
def mark_along(tokens: Cells, song: State, rules: Rules, masks: Masks) -> int:
    """Take legal tokens; write the legal next ones after each to masks [tokens, vocabulary].

    Returns how many were taken, fewer than there are masks where one is not legal.
    """
    masks[:] = False
    for place in range(len(masks)):
        if step(tokens[place], song, rules) != reasons.LEGAL:
            return place
        mark_song(song, rules, masks[place])
    return len(masks)
