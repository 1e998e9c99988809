"""The notes a bar that densities of whole pieces are cut from."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_music.data.settings import BuildSettings
from megatron_music.data.shards.encode_piece import window_rates
from megatron_music.score.metre import METRES
from megatron_music.score.notes import Piece
from megatron_music.score.quantize import placed_windows
from megatron_music.tokenizer.codec import encode, note_rates
from megatron_music.tokenizer.document_columns import document_columns
from megatron_music.tokenizer.vocabulary import vocabulary_of
from tests.music import pieces

SETTINGS = BuildSettings(
    pieces=True,
    fill=True,
    steps_per_quarter=12,
    metres=tuple(map(str, METRES)),
    velocity=8,
    tempo=True,
)


@given(st.lists(pieces(metres=True, expressive=True), max_size=3), st.integers(1, 9))
@settings(max_examples=60)
def test_rates_are_the_notes_a_bar_of_each_track_in_each_window(
    music: list[Piece], bars: int
) -> None:
    vocabulary = vocabulary_of(SETTINGS.tokenizer())
    documents = document_columns([(encode(piece, vocabulary), np.zeros(0), 0) for piece in music])
    asked = BuildSettings(**{**vars(SETTINGS), "bars": bars})
    rates, counts = window_rates(documents, asked, vocabulary)
    edges = np.cumsum([0, *counts]).tolist()
    assert edges[-1] == len(rates)
    for i, piece in enumerate(music):
        windows = placed_windows(piece, bars, bars)
        expected = [rate for _, window in windows for rate in note_rates(window).tolist()]
        # In any order: only how often each rate occurs matters.
        assert sorted(rates[edges[i] : edges[i + 1]].tolist()) == sorted(expected)
