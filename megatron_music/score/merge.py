"""Tracks of one instrument made one; four tracks taken for the voices of a chorale."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from megatron_music.score.instruments import VOICES
from megatron_music.score.notes import Score, Track

_COLUMNS = ("onset", "end", "pitch", "velocity")


def merge(score: Score) -> Score:
    """Gather the notes of each instrument in one track, at the place of its first.

    Sequencers split instruments over tracks (the hands of a piano, the sounds of a drum kit), 43
    of 100 files do. Where two tracks hold the same note, quantizing leaves one of them.
    """
    parts: dict[int, list[Track]] = {}
    for track in score.tracks:
        parts.setdefault(track.instrument, []).append(track)
    tracks = tuple(joined(code, tracks) for code, tracks in parts.items())
    return replace(score, tracks=tracks)


def joined(code: int, tracks: Sequence[Track]) -> Track:
    """Return the notes of some tracks as those of one, in no order."""
    onset, end, pitch, velocity = (
        np.concatenate([getattr(track, name) for track in tracks]) for name in _COLUMNS
    )
    sung = any(track.syllables is not None for track in tracks)
    syllables = np.concatenate([track.sung for track in tracks]) if sung else None
    return Track(code, onset, end, pitch, velocity, syllables)


def as_chorale(score: Score) -> Score | None:
    """Take four tracks as soprano, alto, tenor and bass; return None where there are not four."""
    if len(score.tracks) != len(VOICES):
        return None
    named = zip(score.tracks, VOICES, strict=True)
    return replace(score, tracks=tuple(replace(track, instrument=code) for track, code in named))
