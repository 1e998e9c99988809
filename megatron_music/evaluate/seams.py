"""Where one window follows another: notes that sound across that barline, and across others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from megatron_music.evaluate import bootstrap
from megatron_music.evaluate.bootstrap import Estimate
from megatron_music.score.instruments import DRUMS
from megatron_music.score.notes import IntArray, Piece

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Seams:
    """The share of pitched tracks in which a note sounds across a barline of songs of two windows.

    `at` is at the barline where the first window ends, `elsewhere` the mean of all others,
    `by_barline` each of them in order; `real` is that of held-out windows.
    """

    songs: int
    at: Estimate
    elsewhere: Estimate
    by_barline: tuple[float, ...]
    real: Estimate


def held_over(piece: Piece) -> FloatArray:
    """Return the share of pitched tracks in which a note sounds across each barline, [bars - 1]."""
    barlines = piece.bar_starts[1:-1]
    crossed = [
        ((track.onset < barlines[:, None]) & (track.end > barlines[:, None])).any(1)
        for track in piece.tracks
        if track.instrument != DRUMS
    ]
    return np.mean(crossed, axis=0) if crossed else np.zeros(len(barlines))


def seams(
    songs: Sequence[Piece], window_bars: int, real: Sequence[Piece], groups: IntArray
) -> Seams:
    """Compare the barline behind the first window of long songs with their others.

    `real` are held-out windows and `groups` their pieces.
    """
    rows = np.array([held_over(song) for song in songs])
    at = window_bars - 1
    others = np.delete(rows, at, axis=1).mean(1)
    numbers = np.arange(len(songs), dtype=np.int64)
    within = np.array([held_over(piece).mean() if piece.bars > 1 else 0.0 for piece in real])
    return Seams(
        songs=len(songs),
        at=bootstrap.mean(rows[:, at], numbers),
        elsewhere=bootstrap.mean(others, numbers),
        by_barline=tuple(rows.mean(0).round(4).tolist()),
        real=bootstrap.mean(within, groups),
    )
