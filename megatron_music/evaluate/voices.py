"""Figures of voice leading, of pieces whose tracks are soprano, alto, tenor and bass.

Pure functions over Pieces, numpy only, on cells: one voice in one sixteenth. Nothing changes when
a whole piece is transposed, but for the likeliest key where two fit equally well.
"""

from collections.abc import Callable
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt

from megatron_music.score.instruments import VOICES
from megatron_music.score.key import PITCH_CLASSES, likeliest_key
from megatron_music.score.notes import QUARTERS_PER_BAR, IntArray, Piece

BoolArray = npt.NDArray[np.bool_]

SILENCE = -1
CELLS_PER_QUARTER = 4
CELLS_PER_BAR = QUARTERS_PER_BAR * CELLS_PER_QUARTER

DISSONANCES = (1, 2, 6, 10, 11)
"""Seconds, the tritone and sevenths in any octave, in semitones."""

TRIADS = ((0, 4, 7), (0, 3, 7), (0, 3, 6), (0, 4, 8))
"""Major, minor, diminished and augmented, in semitones above the root."""

_UNISON, _FIFTH = 0, 7


def voice_cells(piece: Piece) -> IntArray:
    """Return the pitch that each voice sings in each sixteenth, SILENCE for none.

    Shape [4 voices, soprano first, sixteenths]. On a finer grid a cell holds what sounds at its
    beginning. Other instruments are left out; a voice is taken to sing one note at a time.
    """
    cells = np.full((len(VOICES), piece.steps), SILENCE, np.int64)
    for track in piece.tracks:
        if track.instrument in VOICES:
            row = cells[VOICES.index(track.instrument)]
            columns = (track.onset.tolist(), track.end.tolist(), track.pitch.tolist())
            for onset, end, pitch in zip(*columns, strict=True):
                row[onset:end] = pitch
    return cells[:, :: piece.steps_per_quarter // CELLS_PER_QUARTER]


def parallel_fifths(piece: Piece) -> float:
    """Return the parallel fifths a bar, of all pairs of voices.

    Two voices move at once, both up or both down, from one fifth (or twelfth) to another.
    """
    return _parallels(voice_cells(piece), _FIFTH) / piece.bars


def parallel_octaves(piece: Piece) -> float:
    """Return the parallel octaves and unisons a bar, counted as parallel fifths are."""
    return _parallels(voice_cells(piece), _UNISON) / piece.bars


def dissonant_pairs(piece: Piece) -> float:
    """Return the share of dissonances among the pairs of voices that sound at once.

    Every two sounding voices are a pair in each sixteenth; DISSONANCES are the intervals.
    """
    dissonant = pairs = 0
    for upper, lower in combinations(voice_cells(piece), 2):
        sounding = (upper != SILENCE) & (lower != SILENCE)
        apart = np.abs(upper - lower)[sounding] % PITCH_CLASSES
        dissonant += int(np.isin(apart, DISSONANCES).sum())
        pairs += int(sounding.sum())
    return dissonant / max(pairs, 1)


def complete_triads(piece: Piece) -> float:
    """Return the share of complete triads among the sixteenths in which three voices sound or more.

    A complete triad is a chord whose pitch classes are the three of a triad (see TRIADS) and no
    other, in any inversion.
    """
    triads = {
        frozenset((root + note) % PITCH_CLASSES for note in triad)
        for root in range(PITCH_CLASSES)
        for triad in TRIADS
    }
    sung = (column[column != SILENCE] for column in voice_cells(piece).T)
    chords = [frozenset((one % PITCH_CLASSES).tolist()) for one in sung if len(one) >= 3]
    return sum(chord in triads for chord in chords) / max(len(chords), 1)


def voices_crossed(piece: Piece) -> float:
    """Return the share of the sixteenths in which a voice sings below the next lower one.

    Neighbours that sound are compared; of all sixteenths in which two voices or more do.
    """
    crossed = shared = 0
    for column in voice_cells(piece).T:
        sounding = column[column != SILENCE].tolist()
        shared += len(sounding) > 1
        crossed += any(upper < lower for upper, lower in pairwise(sounding))
    return crossed / max(shared, 1)


def held_cells(piece: Piece) -> float:
    """Return the share of cells that are the same as the cell before."""
    cells = voice_cells(piece)
    present = cells[(cells != SILENCE).any(1)]
    same = present[:, 1:] == present[:, :-1]
    return float(same.mean()) if same.size else 0.0


def ends_on_the_tonic(piece: Piece) -> float:
    """Return 1 if the last chord is the tonic triad, else 0.

    The last sixteenth with a sounding voice counts. Its lowest note is the tonic of the piece's
    likeliest key; it has the third of that key, in minor also the major one; it may have the fifth
    and nothing else.
    """
    cells = voice_cells(piece)
    sounding = cells != SILENCE
    if not sounding.any():
        return 0.0
    time = np.bincount(cells[sounding] % PITCH_CLASSES, minlength=PITCH_CLASSES).astype(np.float64)
    tonic, is_major = likeliest_key(time / time.sum())
    last = cells[:, np.flatnonzero(sounding.any(0))[-1]]
    notes = last[last != SILENCE] - tonic
    degrees = set((notes % PITCH_CLASSES).tolist())
    triads = ({0, 4, 7},) if is_major else ({0, 3, 7}, {0, 4, 7})
    rooted = int(notes.min()) % PITCH_CLASSES == 0
    return float(rooted and any(triad - {7} <= degrees <= triad for triad in triads))


VOICE_FIGURES: dict[str, Callable[[Piece], float]] = {
    "parallel fifths a bar": parallel_fifths,
    "parallel octaves a bar": parallel_octaves,
    "dissonant pairs": dissonant_pairs,
    "complete triads": complete_triads,
    "voices crossed": voices_crossed,
    "held cells": held_cells,
    "last chord is the tonic triad": ends_on_the_tonic,
}


def _parallels(cells: IntArray, interval: int) -> int:
    """Count the moves of two voices in one direction from an interval to the same one."""
    found = 0
    for voices in combinations(cells, 2):
        both = np.stack(voices)
        before, after = both[:, :-1], both[:, 1:]
        sounding = ((before != SILENCE) & (after != SILENCE)).all(0)
        moves = np.sign(after - before)
        # Two held notes keep their interval without a move.
        together = (moves[0] == moves[1]) & (moves[0] != 0)
        same = [np.abs(at[0] - at[1]) % PITCH_CLASSES == interval for at in (before, after)]
        found += int((sounding & together & same[0] & same[1]).sum())
    return found
