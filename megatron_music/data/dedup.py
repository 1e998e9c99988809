"""The same music found again, and a side of the split for each piece."""

import hashlib
from collections.abc import Sequence

import numpy as np

from megatron_music.data.settings import SPLITS
from megatron_music.score.instruments import DRUMS
from megatron_music.score.notes import IntArray, Piece, Track

_PITCH_ROOM = 1_024
_DRUM_OFFSET = 512


def fingerprint(piece: Piece) -> str:
    """Return the hash that two pieces share exactly when they are the same music.

    The same notes begin at the same steps: at whatever pitch the whole is played, on whatever
    instruments and however the notes are dealt out to tracks, for however long each sounds and
    after however many empty bars. Drums are compared as they are, for their pitches are sounds.
    """
    melodic = [track for track in piece.tracks if track.instrument != DRUMS]
    drums = [track for track in piece.tracks if track.instrument == DRUMS]
    onset = np.concatenate([track.onset for track in (*melodic, *drums)])
    pitch = np.concatenate((_from_lowest(melodic), _column(drums, "pitch") + _DRUM_OFFSET))
    onset -= int(onset.min()) // piece.steps_per_bar * piece.steps_per_bar
    places = np.unique(onset * _PITCH_ROOM + pitch)
    return hashlib.sha256(places.astype("<i8").tobytes()).hexdigest()


def _from_lowest(tracks: list[Track]) -> IntArray:
    pitch = _column(tracks, "pitch")
    return pitch - pitch.min() if len(pitch) else pitch


def _column(tracks: list[Track], name: str) -> IntArray:
    return np.concatenate([np.zeros(0, np.int64), *(getattr(track, name) for track in tracks)])


def split_of(fingerprint: str, weights: Sequence[int]) -> str:
    """Return train, valid or test: decided by the music alone, whatever else is in the set."""
    place = int(fingerprint[:16], 16) * sum(weights) >> 64
    return SPLITS[int(np.searchsorted(np.cumsum(weights), place, side="right"))]
