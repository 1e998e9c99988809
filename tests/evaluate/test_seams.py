"""Notes that sound across barlines, where one window follows another and elsewhere."""

import numpy as np
import pytest

from megatron_music.evaluate.comparison import notes_across_barlines, seams
from megatron_music.score.instruments import DRUMS
from megatron_music.score.notes import Piece
from tests.music import track


def piece(*ties: int, bars: int = 4) -> Piece:
    """Return a piece with a note across the barlines after these bars, and drums across all."""
    notes = [(16 * bar - 4, 16 * bar + 4, 60) for bar in ties] + [(0, 4, 72)]
    return Piece(4, bars, (track(0, *sorted(notes)), track(DRUMS, (0, 16 * bars, 36))))


def test_a_note_that_ends_on_a_barline_does_not_cross_it() -> None:
    assert notes_across_barlines(piece(1, 3)).tolist() == [1, 0, 1]
    ended = Piece(4, 2, (track(0, (0, 16, 60)), track(1, (8, 24, 60))))
    assert notes_across_barlines(ended).tolist() == [0.5]


def test_notes_across_the_seam_are_counted_apart() -> None:
    songs = [piece(1, 3), piece(1), piece(1, 3), piece(3)]
    found = seams(songs, 2, [piece(2), piece(bars=1)], np.array([0, 1]))
    assert found.at.value == 0
    assert found.elsewhere.value == pytest.approx(0.75)
    assert found.by_barline == [0.75, 0, 0.75]
    assert found.real.value == pytest.approx(1 / 6)
