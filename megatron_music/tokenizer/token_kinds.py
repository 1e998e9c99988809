"""What each token is, as numbers: the table that compiled code reads tokens by."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.tokenizer.vocabulary import Kind, Vocabulary

Cells = npt.NDArray[np.int64]

PAD, PIECE_START, PIECE_END, TRACK_START, TRACK_END, BAR_START, BAR_END = range(7)
FILL_IN, FILL_START, FILL_END, INST, DENSITY, METRE, TEMPO, ATTRIBUTE = range(7, 15)
NOTE_ON, NOTE_OFF, TIME_DELTA, VELOCITY, SYLLABLE = range(15, 20)
"""The kinds of tokens; a mark of form has its id, and those from NOTE_ON are in bars alone."""


class TokenTable(NamedTuple):
    """The kind and the value of each id, and `runs` [runs, 3] of ids of one kind.

    The value of a SYLLABLE token is its length in bytes, 0 for a mark; see `Vocabulary.meanings`
    for the others.

    A run is its kind, its first id and the id after its last.
    """

    kinds: Cells
    values: Cells
    runs: Cells


@lru_cache(maxsize=4)
def token_table(vocabulary: Vocabulary) -> TokenTable:
    """Return the table of a vocabulary; `Vocabulary.meanings` has the same in words."""
    names = [
        vocabulary.tokens[token] if kind is Kind.MARK else kind.name
        for token, (kind, _) in enumerate(vocabulary.meanings)
    ]
    kinds = np.array([globals()[name] for name in names], np.int64)
    firsts = np.flatnonzero(np.diff(kinds, prepend=-1))
    lasts = np.append(firsts[1:], len(kinds))
    values = np.array([value for _, value in vocabulary.meanings], np.int64)
    # The grammar counts the bytes of a syllable, not which parts it has.
    sung = kinds == SYLLABLE
    values[sung] = np.array(vocabulary.spelling.lengths_bytes, np.int64)[values[sung]]
    return TokenTable(kinds, values, np.stack((kinds[firsts], firsts, lasts), axis=1))
