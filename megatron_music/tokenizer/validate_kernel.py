"""The grammar over whole data sets, compiled: which documents are not legal.

Hidden bars are followed where they stood. Of documents with hidden bars only those are passed over
that `tokenizer.hidden_bars.hide` could have written; `grammar.check` judges the others.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from megatron_music.score.jit import borrowing_kernel, wide
from megatron_music.tokenizer import grammar_reasons as reasons
from megatron_music.tokenizer import token_kinds as kinds
from megatron_music.tokenizer.grammar_kernel import begin, step
from megatron_music.tokenizer.grammar_state import (
    BETWEEN_TRACKS,
    END,
    PHASE,
    Rules,
    State,
    new_rules,
    new_song,
)
from megatron_music.tokenizer.piece_plan import Plan
from megatron_music.tokenizer.token_kinds import Cells
from megatron_music.tokenizer.vocabulary import Vocabulary

Tokens = npt.NDArray[np.generic]

_REFUSED = _UNKNOWN = -1


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
def _is_piece(tokens: Tokens, song: State, rules: Rules) -> bool:
    """Tell whether tokens are one whole piece."""
    place, told, first_told = 0, _UNKNOWN, _UNKNOWN
    while place < len(tokens):
        kind = kind_of(wide(tokens[place]), rules)
        if kind == kinds.FILL_IN:
            # Only a document with hidden bars pays for the search through all of its tokens.
            if told == _UNKNOWN:
                told = place
                while told < len(tokens) and kind_of(wide(tokens[told]), rules) != kinds.FILL_START:
                    told += 1
                first_told = told
            told = _follow_hidden(tokens, told, song, rules)
            if told == _REFUSED:
                return False
        elif kind == kinds.FILL_START and place == first_told:
            if song.cells[PHASE] != BETWEEN_TRACKS:
                return False
            # The contents have been followed where their bars stood.
            place = told - 1
        elif step(wide(tokens[place]), song, rules) != reasons.LEGAL:
            return False
        place += 1
    whole: bool = song.cells[PHASE] == END
    return whole


@borrowing_kernel
def kind_of(token: int, rules: Rules) -> int:
    """Return the kind of a token; PAD outside the vocabulary."""
    # Compiled code checks no bounds: an id out of range would read what comes after the table.
    kind: int = rules.table.kinds[token] if 0 <= token < len(rules.table.kinds) else kinds.PAD
    return kind


@borrowing_kernel
def _follow_hidden(tokens: Tokens, place: int, song: State, rules: Rules) -> int:
    """Take a hidden bar whose content begins at a place; return that after it, -1 if not legal."""
    if place >= len(tokens) or kind_of(wide(tokens[place]), rules) != kinds.FILL_START:
        return _REFUSED
    if step(kinds.BAR_START, song, rules) != reasons.LEGAL:
        return _REFUSED
    for at in range(place + 1, len(tokens)):
        token = wide(tokens[at])
        if kind_of(token, rules) == kinds.FILL_END:
            return at + 1 if step(kinds.BAR_END, song, rules) == reasons.LEGAL else _REFUSED
        if kind_of(token, rules) == kinds.BAR_END or step(token, song, rules) != reasons.LEGAL:
            return _REFUSED
    return _REFUSED
