"""The notes that tokens spell, written down while they are taken, compiled."""

from typing import NamedTuple

import numpy as np

from megatron_music.score.compiled import borrowing_kernel
from megatron_music.tokenizer import grammar_reasons as reasons
from megatron_music.tokenizer import token_kinds as kinds
from megatron_music.tokenizer.grammar_kernel import refuse, step, take
from megatron_music.tokenizer.grammar_mask_kernel import mark_song
from megatron_music.tokenizer.grammar_state import (
    BAR_START,
    LENGTH,
    STEP,
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
