"""How long notes are and how many tracks sound together: what only a walk through tokens tells."""

import numpy as np
import numpy.typing as npt

from megatron_music.score.instruments import DRUMS
from megatron_music.score.jit import borrowing_kernel, wide
from megatron_music.tokenizer import token_kinds as kinds
from megatron_music.tokenizer.grammar_rules_kernel import LEGAL, refuse
from megatron_music.tokenizer.grammar_state import (
    BAR_START,
    STEP,
    TRACKS,
    Plan,
    Rules,
    State,
    new_rules,
    new_song,
)
from megatron_music.tokenizer.grammar_walk_kernel import Tokens, begin, kind_of, take
from megatron_music.tokenizer.token_kinds import Cells
from megatron_music.tokenizer.vocabulary import Vocabulary


def walk(
    tokens: Tokens,
    lengths: npt.NDArray[np.int32],
    vocabulary: Vocabulary,
    note_steps: Cells,
    tracks: Cells,
) -> int:
    """Add the documents to `note_steps[n]`, notes of n steps, and `tracks[n]`, documents of n.

    The last cell counts what is longer or more. Returns how many documents were followed: those
    with hidden bars are left out, and of others what comes after a token that is not legal. Drums
    have no lengths.
    """
    tokens = np.asarray(tokens).view()
    tokens.flags.writeable = False
    rules = new_rules(vocabulary, Plan())
    song = new_song(Plan(), rules, most_bars=int(lengths.max(initial=0)) + 1)
    start = song.cells.copy()
    ends = np.cumsum(lengths, dtype=np.int64)
    return count_notes(tokens, ends, start, song, rules, note_steps, tracks)


@borrowing_kernel
def count_notes(
    tokens: Tokens,
    ends: Cells,
    start: Cells,
    song: State,
    rules: Rules,
    note_steps: Cells,
    tracks: Cells,
) -> int:
    """Count the notes of each length and the documents of each number of tracks.

    `start` are the cells of a song that has not begun.
    """
    first = followed = 0
    for end in ends:
        document = tokens[first:end]
        if not _hides(document, rules):
            begin(song, start)
            _count_document(document, song, rules, note_steps)
            tracks[min(song.cells[TRACKS], len(tracks) - 1)] += 1
            followed += 1
        first = end
    return followed


@borrowing_kernel
def _hides(tokens: Tokens, rules: Rules) -> bool:
    """Say whether a document has hidden bars."""
    for place in range(len(tokens)):
        if kind_of(wide(tokens[place]), rules) == kinds.FILL_START:
            return True
    return False


@borrowing_kernel
def _count_document(tokens: Tokens, song: State, rules: Rules, note_steps: Cells) -> None:
    """Count the lengths of the notes of a document."""
    drums = False
    for place in range(len(tokens)):
        token = wide(tokens[place])
        if refuse(token, song, rules) != LEGAL:
            return
        kind, value = rules.table.kinds[token], rules.table.values[token]
        if kind == kinds.INST:
            drums = value == DRUMS
        elif kind == kinds.NOTE_OFF and not drums:
            steps = song.cells[BAR_START] + song.cells[STEP] - song.onsets[value]
            note_steps[min(steps, len(note_steps) - 1)] += 1
        take(token, song, rules)
