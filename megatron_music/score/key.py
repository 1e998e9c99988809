"""The key that notes are in, and how its pitches are spelled."""

import numpy as np
import numpy.typing as npt

from megatron_music.score.instruments import DRUMS
from megatron_music.score.notes import Piece

FloatArray = npt.NDArray[np.float64]

PITCH_CLASSES = 12
MAJOR_PROFILE = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR_PROFILE = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
"""How well each pitch class fits a key on C: Krumhansl and Kessler 1982."""

_PROFILES = np.array(
    [
        np.roll(profile, tonic)
        for profile in (MAJOR_PROFILE, MINOR_PROFILE)
        for tonic in range(PITCH_CLASSES)
    ]
)
_CENTRED = _PROFILES - _PROFILES.mean(axis=1, keepdims=True)
_CENTRED /= np.linalg.norm(_CENTRED, axis=1, keepdims=True)

_LETTERS = "FCGDAEB"  # by fifths
_FLATTEST = -3
"""Of the twelve spellings of a key without signs, in fifths from C: E flat, up to G sharp."""


def likeliest_key(sounding: FloatArray) -> tuple[int, bool]:
    """Return the tonic 0..11 of the likeliest key of pitch class shares [12], and if it is major.

    The key whose profile correlates best (Krumhansl and Schmuckler; Krumhansl 1990, chapter 4).
    """
    best = int((_CENTRED @ sounding).argmax())
    return best % PITCH_CLASSES, best < PITCH_CLASSES


def sounding_times(piece: Piece) -> FloatArray:
    """Return for how many steps each pitch class [12] sounds, drums left out."""
    sounding = np.zeros(PITCH_CLASSES)
    for track in piece.tracks:
        if track.instrument != DRUMS:
            lengths = (track.end - track.onset).astype(np.float64)
            sounding += np.bincount(track.pitch % PITCH_CLASSES, lengths, PITCH_CLASSES)
    return sounding


def signature(piece: Piece) -> int:
    """Return the sharps (below 0: flats) of the likeliest key of a piece, -5 to 6."""
    sounding = sounding_times(piece)
    if not sounding.any():
        return 0
    tonic, is_major = likeliest_key(sounding)
    relative = tonic if is_major else tonic + 3
    return (relative * 7 + 5) % PITCH_CLASSES - 5


def spelling(pitch: int, sharps: int) -> tuple[str, int, int]:
    """Return the letter, the sharps (below 0: flats) and the octave of a pitch in a key."""
    low = sharps + _FLATTEST
    fifths = low + (pitch * 7 - low) % PITCH_CLASSES
    letter, alter = _LETTERS[(fifths + 1) % 7], (fifths + 1) // 7
    return letter, alter, (pitch - alter) // PITCH_CLASSES - 1
