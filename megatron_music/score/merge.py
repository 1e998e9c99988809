"""Tracks of one instrument made one."""

from dataclasses import replace

import numpy as np

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
    tracks = tuple(_joined(code, tracks) for code, tracks in parts.items())
    return replace(score, tracks=tracks)


def _joined(code: int, tracks: list[Track]) -> Track:
    columns = ([getattr(track, name) for track in tracks] for name in _COLUMNS)
    return Track(code, *(np.concatenate(column) for column in columns))
