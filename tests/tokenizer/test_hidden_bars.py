"""Hiding bars loses nothing, is legal mmmtrack, and chooses the same bars everywhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_music.errors import TokenError, UsageError
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.codec import decode, encode, from_text, to_text
from megatron_music.tokenizer.grammar import check
from megatron_music.tokenizer.hidden_bars import choose_bars, hide, is_hidden, restore
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary
from tests.music import pieces

PLAIN = Vocabulary(TokenizerSettings(density=False))
NOTE = "NOTE_ON=60 TIME_DELTA=4 NOTE_OFF=60"
HIDDEN = (
    f"PIECE_START TRACK_START INST=0 FILL_IN BAR_START {NOTE} BAR_END TRACK_END "
    f"FILL_START NOTE_ON=62 TIME_DELTA=8 NOTE_OFF=62 FILL_END PIECE_END"
)
FINGERPRINT = "0123456789abcdef" * 2


def test_a_hidden_bar_leaves_a_mark_and_follows_the_tracks() -> None:
    whole = (
        "PIECE_START TRACK_START INST=0 BAR_START NOTE_ON=62 TIME_DELTA=8 NOTE_OFF=62 BAR_END "
        f"BAR_START {NOTE} BAR_END TRACK_END PIECE_END"
    )
    tokens = from_text(whole, PLAIN)
    hidden = hide(tokens, [[0]], PLAIN)
    assert to_text(hidden, PLAIN) == HIDDEN
    assert to_text(restore(hidden, PLAIN)[0], PLAIN) == whole
    assert is_hidden(hidden, PLAIN)
    assert not is_hidden(tokens, PLAIN)


@given(pieces(), st.booleans(), st.integers(0, 2**63))
def test_what_is_hidden_can_be_put_back(piece: Piece, density: bool, seed: int) -> None:
    vocabulary = Vocabulary(TokenizerSettings(piece.steps_per_quarter, density))
    tokens = encode(piece, vocabulary)
    bars = choose_bars(seed, FINGERPRINT, 3, len(piece.tracks), piece.bars)
    hidden = hide(tokens, bars, vocabulary)
    assert len(hidden) == len(tokens) + sum(map(len, bars))
    assert restore(hidden, vocabulary)[0].tolist() == tokens.tolist()
    check(hidden, vocabulary)
    assert decode(hidden, vocabulary) == piece


@given(st.integers(0, 2**63), st.integers(0, 9), st.integers(1, 12), st.integers(1, 16))
def test_something_is_hidden_and_something_is_left(
    seed: int, window: int, tracks: int, bars: int
) -> None:
    chosen = choose_bars(seed, FINGERPRINT, window, tracks, bars)
    cells = [(track, bar) for track, of_track in enumerate(chosen) for bar in of_track]
    assert len(chosen) == tracks
    assert 1 <= len(set(cells)) == len(cells) <= max(1, 0.75 * tracks * bars, bars)
    assert all(0 <= bar < bars for _, bar in cells)
    assert tracks * bars == 1 or len(cells) < tracks * bars


def test_the_choice_is_the_same_on_every_machine() -> None:
    assert choose_bars(0, FINGERPRINT, 0, 2, 4) == [[], [0, 1, 3]]


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        (HIDDEN.replace("NOTE_OFF=62 FILL_END", "NOTE_OFF=63 FILL_END"), 13, "63 is not sounding"),
        (HIDDEN.replace("FILL_IN", "BAR_START BAR_END"), 11, "0 FILL_IN, 1 FILL_START"),
        (HIDDEN.replace("FILL_END PIECE_END", "PIECE_END"), 3, "0 FILL_END"),
        (HIDDEN.replace("FILL_START NOTE_ON=62", "NOTE_ON=62 FILL_START"), 13, "not sounding"),
        (HIDDEN.replace("INST=0 FILL_IN", "FILL_IN INST=0"), 10, "expected INST"),
        (
            HIDDEN.replace("FILL_END", "TRACK_START FILL_END"),
            14,
            "TRACK_START is not legal in a bar",
        ),
    ],
)
def test_each_wrong_token_is_refused_at_its_place(text: str, position: int, reason: str) -> None:
    tokens = from_text(text, PLAIN)
    with pytest.raises(TokenError, match=reason) as caught:
        check(tokens, PLAIN)
    assert caught.value.position == position


def test_a_bar_that_is_not_there_cannot_be_hidden() -> None:
    tokens = restore(from_text(HIDDEN, PLAIN), PLAIN)[0].astype(np.uint16)
    with pytest.raises(UsageError, match="track 0 has no bar 2 to hide; it has 2"):
        hide(tokens, [[2]], PLAIN)
