"""Walk documents, or songs that are being composed, and return the rows of their tokens.

`structure.py` says what the rows mean.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from megatron_music.score.hashing import Words
from megatron_music.tokenizer.places_in_piece import UNKNOWN
from megatron_music.tokenizer.structure import (
    BAR_COLUMNS,
    CELLS,
    PITCH_WORDS,
    SOUND_WORDS,
    PlaceArray,
    PositionRows,
    RowArray,
    SongStates,
)
from megatron_music.tokenizer.structure_kernel import begin_songs, walk_documents, walk_songs
from megatron_music.tokenizer.token_kinds import METRE, TokenTable, token_table
from megatron_music.tokenizer.vocabulary import (
    PITCHES,
    TokenizerSettings,
    Vocabulary,
    vocabulary_of,
)


def _new_states(songs: int, rows: PositionRows) -> SongStates:
    """Return songs that have not begun."""

    def words(*shape: int) -> Words:
        return np.zeros((songs, *shape), np.uint64)

    states = SongStates(
        cells=np.zeros((songs, CELLS), np.int64),
        onsets=np.zeros((songs, PITCHES), np.int64),
        cuts=np.zeros((songs, PITCHES), np.int64),
        held=words(PITCH_WORDS),
        hidden_bars=np.zeros((songs, rows.seq_length, BAR_COLUMNS), np.int64),
        unfinished=words(2, rows.times, PITCH_WORDS),
        finished=words(2, rows.times, SOUND_WORDS),
    )
    begin_songs(states, rows)
    return states


def document_rows(
    tokens: npt.NDArray[np.integer],
    starts: npt.NDArray[np.integer],
    places: PlaceArray,
    is_plain: npt.NDArray[np.bool_],
    rows: PositionRows,
    vocabulary: Vocabulary,
) -> RowArray:
    """Return the rows of the tokens of whole documents, int32 [tokens, most rows of a token].

    Document d is `tokens[starts[d]:starts[d + 1]]`; `places[d]` are the bars of the piece before
    its first bar and the bars of the whole piece, -1 where unknown. Where `is_plain` a token takes
    the row of its index alone. Shorter lists end in `rows.total`.
    """
    return walk_documents(
        np.ascontiguousarray(tokens, np.int64),
        np.ascontiguousarray(starts, np.int64),
        np.ascontiguousarray(places, np.int64),
        np.ascontiguousarray(is_plain, np.bool_),
        rows,
        _table(vocabulary.settings),
        _new_states(1, rows),
    )


class StructureTracker:
    """The rows of songs while they are composed, each song's state its own.

    `places` [songs, 2] are as in `document_rows`; without them all are unknown.
    """

    def __init__(
        self,
        rows: PositionRows,
        vocabulary: Vocabulary,
        songs: int,
        places: PlaceArray | None = None,
    ) -> None:
        self._rows = rows
        self._table = _table(vocabulary.settings)
        self._places = np.full((songs, 2), UNKNOWN, np.int64)
        if places is not None:
            self._places[:] = places
        self._states = _new_states(songs, rows)

    def advance(self, tokens: npt.NDArray[np.int64]) -> RowArray:
        """Move each song past its next tokens [songs, n]; return their rows [songs, n, most]."""
        songs, count = tokens.shape
        flat = walk_songs(
            np.ascontiguousarray(tokens), self._places, self._rows, self._table, self._states
        )
        return flat.reshape(songs, count, flat.shape[1])


@lru_cache(maxsize=4)
def _table(settings: TokenizerSettings) -> TokenTable:
    """Return what each token is; the values of METRE are the steps of a bar."""
    vocabulary = vocabulary_of(settings)
    table, values = token_table(vocabulary), token_table(vocabulary).values.copy()
    # The walk counts steps, so a METRE token carries the length of its bars instead of its number.
    metres = table.kinds == METRE
    values[metres] = np.array(vocabulary.bar_steps)[values[metres]]
    return table._replace(values=values)
