"""Hashes of music: the same on every machine, cheap enough for millions of pieces.

Music is hashed note by note and the hashes are added, so that no order has to be made first.
"""

import numpy as np
import numpy.typing as npt

from megatron_music.score.instruments import DRUMS
from megatron_music.score.notes import IntArray, Piece, Track

Words = npt.NDArray[np.uint64]

WORD = 2**64 - 1
STRIDE = 0x9E3779B97F4A7C15
FIRST_FACTOR, SECOND_FACTOR = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
SECOND_LANE = 0xD1B54A32D192ED03
"""What tells the second half of a fingerprint from the first."""

PITCH_ROOM = 1_024
DRUM_OFFSET = 512


def scramble(words: Words) -> Words:
    """Return uint64 words in which every bit depends on every bit given (splitmix64)."""
    mixed = words + np.uint64(STRIDE)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(FIRST_FACTOR)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(SECOND_FACTOR)
    return mixed ^ (mixed >> np.uint64(31))


def fingerprint(piece: Piece) -> str:
    """Return 32 hexadecimal digits that two pieces share when they are the same music.

    The same notes begin at the same steps: at any pitch of the whole, on any
    instruments and however the notes are dealt out to tracks, for however long each sounds and
    after however many empty bars. Drums are compared as they are, for their pitches are sounds.
    """
    melodic = [track for track in piece.tracks if track.instrument != DRUMS]
    drums = [track for track in piece.tracks if track.instrument == DRUMS]
    onset = _column((*melodic, *drums), "onset")
    pitch = _column(melodic, "pitch")
    # From the lowest pitch and the first bar with a note: transposed music, or music after empty
    # bars, has the same places.
    pitch = np.concatenate((pitch - pitch.min(initial=127), _column(drums, "pitch") + DRUM_OFFSET))
    onset -= piece.bar_starts[piece.bar_at(onset.min())]
    places: Words = np.unique(onset * PITCH_ROOM + pitch).astype(np.uint64)
    lanes = (scramble(places), scramble(places ^ np.uint64(SECOND_LANE)))
    return "".join(f"{int(lane.sum(dtype=np.uint64)):016x}" for lane in lanes)


def _column(tracks: tuple[Track, ...] | list[Track], name: str) -> IntArray:
    return np.concatenate([np.zeros(0, np.int64), *(getattr(track, name) for track in tracks)])


def track_order(seed: int, music: str, window: int, count: int) -> list[int]:
    """Return an order of `count` tracks that depends on seed, music and window alone.

    `music` is a fingerprint, `window` counts from 0.
    """
    first = np.array([seed & WORD], np.uint64)
    piece = scramble(scramble(first) ^ np.uint64(int(music[:16], 16)))
    state = scramble(piece + np.uint64(window))
    tracks: Words = np.arange(count, dtype=np.uint64)
    keys = scramble(state + tracks)
    return [int(track) for track in np.argsort(keys, kind="stable")]
