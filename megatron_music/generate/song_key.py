"""Keys: their names, and how the key of music is found."""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from megatron_music.errors import UsageError
from megatron_music.score.key import (
    MAJOR_PROFILE,
    MINOR_PROFILE,
    likeliest_key,
    sounding_times,
)
from megatron_music.score.notes import Piece

_SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10, 11)}
"""Semitones above the tonic; minor is the natural scale with the leading note."""

_TONICS = {
    "major": ("C", "D♭", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"),
    "minor": ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "G♯", "A", "B♭", "B"),
}
"""The names of tonics from C; of two spellings that with fewer accidentals."""
_LETTERS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_SHIFTS = {"": 0, "#": 1, "♯": 1, "sharp": 1, "b": -1, "♭": -1, "flat": -1}
_KEY = re.compile(r"([A-Ga-g])\s*-?(#|♯|b|♭|sharp|flat)?\s*(major|maj|minor|min|m|)", re.IGNORECASE)
FITTING_SHARE = 0.9
"""Music is taken to be in a key if this share of its sounding time is of the key's scale."""


@dataclass(frozen=True)
class Key:
    """A key: its tonic as a pitch class from C, and its mode."""

    tonic: int
    mode: str

    def __str__(self) -> str:
        return f"{_TONICS[self.mode][self.tonic]} {self.mode}"

    @property
    def scale(self) -> npt.NDArray[np.bool_]:
        """Which pitch classes belong to the key."""
        belongs = np.zeros(12, np.bool_)
        belongs[[(self.tonic + step) % 12 for step in _SCALES[self.mode]]] = True
        return belongs

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """The fit of each pitch class from C by listeners' ratings; the mean of the scale is 1."""
        profile = np.roll(MAJOR_PROFILE if self.mode == "major" else MINOR_PROFILE, self.tonic)
        weights: npt.NDArray[np.float64] = profile / profile[self.scale].mean()
        return weights

    def share(self, piece: Piece) -> float:
        """Return the share of a piece's sounding time, drums apart, on notes of the scale."""
        sounding = sounding_times(piece)
        total = float(sounding.sum())
        return float(sounding[self.scale].sum()) / total if total else 1.0


def parse_key(text: str) -> Key:
    """Read a key as "C major", "f# minor", "Bb" or "Am"; raises UsageError."""
    found = _KEY.fullmatch(text.strip())
    if not found:
        raise UsageError(f"`key` must be as in 'C major', 'F# minor' or 'Bb major' (got {text!r})")
    letter, shift, mode = found[1], (found[2] or "").lower(), found[3]
    # A single letter counts as it is written: "Am" is minor, "AM" is major.
    is_minor = mode.lower() in ("minor", "min") or mode == "m"
    tonic = (_LETTERS[letter.lower()] + _SHIFTS[shift]) % 12
    return Key(tonic, "minor" if is_minor else "major")


def key_of(piece: Piece) -> str:
    """Return the key whose profile correlates best with how long each pitch class sounds.

    The method of Krumhansl and Schmuckler; "" where no pitched note sounds, or all equally long.
    """
    sounding = sounding_times(piece)
    if not sounding.std():
        return ""
    tonic, is_major = likeliest_key(sounding)
    return str(Key(tonic, "major" if is_major else "minor"))
