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
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.config import did_you_mean
from megatron_music.errors import UsageError
from megatron_music.score.hashing import Words
from megatron_music.score.instruments import INSTRUMENT_COUNT, VOICES
from megatron_music.score.notes import IntArray
from megatron_music.score.words import LONGEST_SYLLABLE_BYTES
from megatron_music.tokenizer.load import AnyVocabulary
from megatron_music.tokenizer.text_vocabulary import TextVocabulary
from megatron_music.tokenizer.vocabulary import PITCHES

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
"""[documents, 2] as in `tokenizer.places_in_piece`; UNKNOWN takes no row."""


class PositionRows(NamedTuple):
    """The first row of each group in a position table, -1 where the model lacks the group.

    Up to `sung`; the other fields are numbers. There are `times` rows of time and `waits` of
    `wait`; `common_bar` is the steps of bars whose METRE token has not come. There are `total`
    rows; in lists of rows that number means none. `sung` is the place of a SYLLABLE token after its
    NOTE_ON, which only vocabularies with lyrics have: all tokens of a syllable are at one time.
    """

    time: int
    track: int
    held: int
    sounding: int
    begins: int
    after: int
    wait: int
    since_begin: int
    to_end: int
    instrument: int
    last: int
    fifths: int
    octaves: int
    above: int
    below: int
    sung: int
    seq_length: int
    times: int
    waits: int
    common_bar: int
    total: int


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
    groups = {
        "time": {"time": times},
        "track": {"track": TRACKS},
        "held": {"held": PITCHES},
        "sounding": {"sounding": SOUNDING},
        "ahead": {"begins": SOUNDING, "after": SOUNDING, "wait": waits},
        "place": {"since_begin": PLACES, "to_end": PLACES},
        "instrument": {"instrument": INSTRUMENT_COUNT},
        "motion": {"last": PITCHES, "fifths": PITCHES, "octaves": PITCHES},
        "bounds": {"above": PITCHES, "below": PITCHES},
    }
    # In the order of INPUTS, not of `inputs`: the order in which a recipe names them does not move
    # rows.
    sizes = [(name, *of) for name in INPUTS for of in groups[name].items()]
    sizes.append(("time" if vocabulary.has_lyrics else "", "sung", SUNG))
    first_rows: dict[str, int] = {}
    total = seq_length
    for name, group, size in sizes:
        first_rows[group] = total if name in inputs else -1
        total += size * (name in inputs)
    return PositionRows(
        **first_rows,
        seq_length=seq_length,
        times=times,
        waits=waits,
        common_bar=vocabulary.bar_steps[0],
        total=total,
    )


(
    BAR,  # bars since the window's beginning
    TRACK,  # tracks begun
    INSTRUMENT,  # of the current track, its code + 1; 0 before it is known
    BAR_START,  # the step that the bar began with
    BAR_STEPS,  # the length of the bar
    INDEX,  # tokens so far
    TIME,  # steps since the window's beginning, in this track
    FIRST_BAR_STEPS,  # the length of a track's first bar
    HIDDEN,  # hidden bars passed
    FILLED,  # hidden bars whose contents have begun
    LAST,  # the pitch that ended last, + 1; 0 where none did
    LAST_END,  # the step that it ended at
    TOUCHED_FROM,  # the steps that the unfinished track sounds in, up to TOUCHED_TO
    TOUCHED_TO,
    SYLLABLE_PLACE,  # SYLLABLE tokens since the NOTE_ON
    CELLS,
) = range(16)
"""Columns of `SongStates.cells`, and how many there are."""

BAR_COLUMNS = INDEX
"""How many of the columns, from the first, are kept of a hidden bar until its contents come."""

SOUNDS, BEGINS = range(2)
"""Whether a set has the pitches that sound at a step, or those that begin there."""

SILENT = -1
"""Means that there is no onset, or no hidden bar after it."""

PITCH_WORDS = PITCHES // 64
SOUND_WORDS = CLASSES * PITCH_WORDS


class SongStates(NamedTuple):
    """How far songs have come; the first index is the song's. For one song alone it is left out.

    Sets of pitches are bits: two words of 64, or two for each of the six classes of sounds.
    """

    cells: IntArray
    """[songs, CELLS]."""
    onsets: IntArray
    """[songs, 128]: the step that an open note began at, SILENT where a pitch has none."""
    cuts: IntArray
    """[songs, 128]: the step that the first hidden bar after the onset began at, or SILENT."""
    held: Words
    """[songs, 2]: the open notes that no hidden bar may have ended."""
    hidden_bars: IntArray
    """[songs, bars, BAR_COLUMNS]: the first columns of `cells` at each hidden bar."""
    unfinished: Words
    """[songs, (SOUNDS, BEGINS), steps, 2]: the pitches of the unfinished track."""
    finished: Words
    """[songs, (SOUNDS, BEGINS), steps, 12]: the pitches of the finished tracks."""
