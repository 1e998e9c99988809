"""The legal next tokens of many songs at once, compiled: composing chooses among them.

A song is a row of `State`. What is owed after a token is the same for most tokens of a kind, so
that it is counted once a kind; `grammar_kernel` says which of them are legal.
"""

from megatron_music.score.compiled import borrowing_kernel
from megatron_music.tokenizer import grammar_reasons as reasons
from megatron_music.tokenizer import token_kinds as kinds
from megatron_music.tokenizer.grammar_budget_kernel import owed_after
from megatron_music.tokenizer.grammar_kernel import refuse_form, song_of, take
from megatron_music.tokenizer.grammar_state import (
    ANNOUNCED,
    END,
    LENGTH,
    NOT_SUNG,
    PHASE,
    PHASES_OF_KIND,
    SOUNDING,
    SUNG,
    Masks,
    Rules,
    State,
)
from megatron_music.tokenizer.token_kinds import Cells


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
