"""Structural inputs: which rows of a model's position table each token takes.

In addition to its own embedding a token gets a sum of rows of GPT-2's position table (`wpe`), which
say where the token is and what sounds there. Rows describe the state after the token: what the next
one meets. All of it follows from the tokens so far, but for the place in the piece.

    index       a row for each token of a document: documents without inputs use these alone
    time        steps since the window's beginning, in this track
    track       number of the current track, 0 before the first
    held        the pitches that the current track holds: their NOTE_OFF is still to come
    sounding    the pitches that sound at this time in the finished tracks; apart those of drums,
                and of each of the four voices of a choir, which keep to their registers
    ahead       the pitches that begin at this time in the finished tracks, those that sound there
                after their next change, and the steps until that change
    place       bars since the piece's beginning, and bars to its end
    instrument  the instrument of the current track
    motion      the pitch that the current track ended last; where it ended now, also the pitches
                that would move from it in parallel fifths, and in octaves, with a finished track
    bounds      for a voice of a choir: the lowest pitch that sounds at this time in the finished
                voices above it, and the highest in those below it

The first row of a token is its time, or its index where a model has no `time`.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.config import did_you_mean
from megatron_music.errors import UsageError
from megatron_music.score.instruments import INSTRUMENT_COUNT, VOICES
from megatron_music.score.words import LONGEST_SYLLABLE_BYTES
from megatron_music.tokenizer.document_places import UNKNOWN
from megatron_music.tokenizer.load import AnyVocabulary
from megatron_music.tokenizer.text_vocabulary import TextVocabulary
from megatron_music.tokenizer.token_kinds import METRE, TokenTable, token_table
from megatron_music.tokenizer.vocabulary import (
    PITCHES,
    TokenizerSettings,
    Vocabulary,
    vocabulary_of,
)

INPUTS = (
    *("time", "track", "held", "sounding", "ahead"),
    *("place", "instrument", "motion", "bounds"),
)
"""In the order of their rows: a model keeps the rows of those it has when others are added."""

TRACKS = 16
"""Rows of `track`; later tracks share the last."""
CLASSES = 2 + len(VOICES)
"""The pitches of instruments, of drums and of each voice have rows of their own: `sound_class`."""
SOUNDING = CLASSES * PITCHES
"""Rows of `sounding`: the pitches of one class after another."""
SUNG = LONGEST_SYLLABLE_BYTES + 1
"""Rows of `sung`: the bytes of the longest syllable, and what ends after it."""
PLACES = 17
"""Rows of each half of `place`; the last is for 16 bars and more."""

RowArray = npt.NDArray[np.int32]
PlaceArray = npt.NDArray[np.integer]
"""[documents, 2] as in `tokenizer.document_places`; UNKNOWN takes no row."""


class PositionRows(NamedTuple):
    """The first row of each group in a position table, -1 where the model lacks the group.

    `times` and `waits` are the numbers of rows of time and of `wait`; `common_bar` is the length of
    bars whose METRE token has not come. There are `total` rows; in lists of rows that number
    means none. `sung` is the place of a SYLLABLE token after its NOTE_ON, which only vocabularies
    with lyrics have: all tokens of a syllable are at one time.
    """

    seq_length: int
    time: int
    times: int
    track: int
    held: int
    sounding: int
    begins: int
    after: int
    wait: int
    waits: int
    since_begin: int
    to_end: int
    instrument: int
    last: int
    fifths: int
    octaves: int
    above: int
    below: int
    common_bar: int
    total: int
    sung: int = -1


def position_rows(
    inputs: Sequence[str], seq_length: int, vocabulary: AnyVocabulary
) -> PositionRows:
    """Return the rows of a position table with these inputs; raises UsageError for an unknown one.

    Without inputs the table is GPT-2's own: a row for each index. Words have none.
    """
    if isinstance(vocabulary, TextVocabulary):
        if inputs:
            raise UsageError(
                "structural inputs are for music, and the data hold words; use recipe tiny-text or "
                "gpt2-lyrics, or set model.structural_inputs=[]"
            )
        none = dict.fromkeys(PositionRows._fields, -1)
        return PositionRows(**{**none, "seq_length": seq_length, "total": seq_length})
    for name in inputs:
        if name not in INPUTS:
            raise UsageError(
                f"no structural input {name!r}{did_you_mean(name, INPUTS)}; "
                f"choose among {', '.join(INPUTS)}"
            )
    times = vocabulary.settings.bars * vocabulary.longest_bar + 1
    waits = vocabulary.longest_bar + 1
    sizes = {
        "time": (times,),
        "track": (TRACKS,),
        "held": (PITCHES,),
        "sounding": (SOUNDING,),
        "ahead": (SOUNDING, SOUNDING, waits),
        "place": (PLACES,) * 2,
        "instrument": (INSTRUMENT_COUNT,),
        "motion": (PITCHES,) * 3,
        "bounds": (PITCHES,) * 2,
    }
    # In the order of INPUTS, not of `inputs`: the order in which a recipe names them does not move
    # rows.
    firsts: list[int] = []
    total = seq_length
    for name in INPUTS:
        for size in sizes[name]:
            firsts.append(total if name in inputs else -1)
            total += size * (name in inputs)
    time, track, held, sounding, begins, after, wait, *others = firsts
    made = PositionRows(
        *(seq_length, time, times, track, held, sounding, begins, after, wait, waits),
        *(*others, vocabulary.bar_steps[0], total),
    )
    tells_sung = vocabulary.has_lyrics and "time" in inputs
    return made._replace(sung=total, total=total + SUNG) if tells_sung else made


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
    from megatron_music.tokenizer.structure_kernel import walk_documents
    from megatron_music.tokenizer.structure_state_kernel import new_states

    return walk_documents(
        np.ascontiguousarray(tokens, np.int64),
        np.ascontiguousarray(starts, np.int64),
        np.ascontiguousarray(places, np.int64),
        np.ascontiguousarray(is_plain, np.bool_),
        rows,
        _table(vocabulary.settings),
        new_states(1, rows),
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
        from megatron_music.tokenizer.structure_kernel import walk_songs
        from megatron_music.tokenizer.structure_state_kernel import new_states

        self._rows = rows
        self._table = _table(vocabulary.settings)
        self._places = np.full((songs, 2), UNKNOWN, np.int64)
        if places is not None:
            self._places[:] = places
        self._states = new_states(songs, rows)
        self._walk = walk_songs

    def advance(self, tokens: npt.NDArray[np.int64]) -> RowArray:
        """Move each song past its next tokens [songs, n]; return their rows [songs, n, most]."""
        songs, count = tokens.shape
        flat = self._walk(
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
