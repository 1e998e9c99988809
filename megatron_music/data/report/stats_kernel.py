"""Count lengths of notes and numbers of tracks, by a walk through tokens; compiled."""

import numpy as np
import numpy.typing as npt

from megatron_music.score.compiled import kernel, wide
from megatron_music.score.instruments import DRUMS
from megatron_music.tokenizer.validate_kernel import (
    BAR_END,
    FILL_START,
    INST,
    METRE,
    NOTE_OFF,
    NOTE_ON,
    TIME_DELTA,
    TRACK_START,
    Tokens,
    TokenTable,
    kind_of,
    token_table,
)
from megatron_music.tokenizer.vocabulary import PITCHES, Vocabulary

Counts = npt.NDArray[np.int64]

_SILENT = -1


def walk(
    tokens: Tokens,
    lengths: npt.NDArray[np.int32],
    vocabulary: Vocabulary,
    note_steps: Counts,
    tracks: Counts,
) -> int:
    """Add the documents to `note_steps[n]`, notes of n steps, and `tracks[n]`, documents of n.

    The last cell counts what is longer or more. Returns how many documents were followed: those
    with hidden bars are left out. Drums have no lengths.
    """
    tokens = np.asarray(tokens).view()
    tokens.flags.writeable = False
    onsets = np.empty(PITCHES, np.int32)
    ends = np.cumsum(lengths, dtype=np.int64)
    return count_notes(tokens, ends, token_table(vocabulary), onsets, note_steps, tracks)


@kernel
def count_notes(
    tokens: Tokens,
    ends: Counts,
    form: TokenTable,
    onsets: npt.NDArray[np.int32],
    note_steps: Counts,
    tracks: Counts,
) -> int:
    """Count the notes of each length and the documents of each number of tracks."""
    start = followed = 0
    for end in ends:
        if not _hides(tokens, start, end, form):
            count = _count_document(tokens, start, end, form, onsets, note_steps)
            tracks[min(count, len(tracks) - 1)] += 1
            followed += 1
        start = end
    return followed


@kernel
def _hides(tokens: Tokens, start: int, end: int, form: TokenTable) -> bool:
    """Tell whether a document has hidden bars."""
    for at in range(start, end):  # noqa: SIM110 (the compiler knows no any)
        if kind_of(tokens, at, end, form) == FILL_START:
            return True
    return False


@kernel
def _count_document(
    tokens: Tokens,
    start: int,
    end: int,
    form: TokenTable,
    onsets: npt.NDArray[np.int32],
    note_steps: Counts,
) -> int:
    """Count the lengths of the notes of a document; return how many tracks it has."""
    tracks = step = bar_end = metre = head_metre = 0
    drums = False
    for at in range(start, end):
        kind = kind_of(tokens, at, end, form)
        value = wide(form.values[tokens[at]]) if kind != 0 else 0
        if kind == NOTE_ON:
            onsets[value] = step
        elif kind == NOTE_OFF:
            if onsets[value] != _SILENT and not drums:
                note_steps[min(step - onsets[value], len(note_steps) - 1)] += 1
            onsets[value] = _SILENT
        elif kind == TIME_DELTA:
            step += value
        elif kind == BAR_END:
            step = bar_end = bar_end + wide(form.bar_steps[metre])
        elif kind == TRACK_START:
            tracks += 1
            step, bar_end, metre = 0, 0, head_metre
            onsets[:] = _SILENT
        elif kind == METRE:
            metre = value
            head_metre = metre if tracks == 0 else head_metre
        elif kind == INST:
            drums = value == DRUMS
    return tracks
