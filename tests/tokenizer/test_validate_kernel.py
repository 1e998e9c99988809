"""The compiled grammar agrees with the one that explains itself, document by document."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_music.errors import TokenError
from megatron_music.score.metre import METRES
from megatron_music.tokenizer.codec import encode, from_text
from megatron_music.tokenizer.grammar import check
from megatron_music.tokenizer.hidden_bars import choose_bars, hide, is_hidden
from megatron_music.tokenizer.validate_kernel import suspect_documents
from megatron_music.tokenizer.vocabulary import TokenArray, TokenizerSettings, Vocabulary
from tests.music import pieces, sung_pieces

ATTRIBUTES = ("GENRE=JAZZ", "GENRE=ROCK")
VOCABULARIES = {
    (steps, density, metres): Vocabulary(
        TokenizerSettings(
            steps,
            density,
            attributes=ATTRIBUTES,
            metres=tuple(map(str, METRES)) if metres else (),
            velocity=8 if metres and density else 0,
            lyrics=density,
            tempo=metres and density,
        )
    )
    for steps in (4, 12)
    for density in (False, True)
    for metres in (False, True)
}
PLAIN = VOCABULARIES[4, False, False]
NOTE = "NOTE_ON=60 TIME_DELTA=4 NOTE_OFF=60"


def legal(tokens: TokenArray, vocabulary: Vocabulary) -> bool:
    try:
        check(tokens, vocabulary)
    except TokenError:
        return False
    return True


def suspected(documents: list[TokenArray], vocabulary: Vocabulary) -> list[int]:
    lengths = np.array([len(document) for document in documents], np.int32)
    return list(suspect_documents(np.concatenate(documents), lengths, vocabulary))


@st.composite
def documents(draw: st.DrawFn) -> tuple[TokenArray, Vocabulary]:
    """Draw the tokens of a piece, some with attributes, some with hidden bars."""
    metres = draw(st.booleans())
    piece = draw(pieces(metres=metres, expressive=metres) | sung_pieces())
    vocabulary = VOCABULARIES[piece.steps_per_quarter, draw(st.booleans()), metres]
    tokens = encode(piece, vocabulary)
    if draw(st.booleans()):
        seed = draw(st.integers(0, 2**63))
        bars = choose_bars(seed, "0" * 32, 0, len(piece.tracks), piece.bars)
        tokens = hide(tokens, bars, vocabulary)
    chosen = draw(st.sampled_from(["", "GENRE=JAZZ", "GENRE=JAZZ GENRE=ROCK"]))
    return np.insert(tokens, 1, from_text(chosen, vocabulary)), vocabulary


@st.composite
def spoiled(draw: st.DrawFn) -> tuple[TokenArray, Vocabulary]:
    """Draw the tokens of a piece with a few of them changed, lost, repeated or exchanged."""
    tokens, vocabulary = draw(documents())
    rows = tokens.tolist()
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(rows) - 1))
        other = draw(st.integers(0, len(rows) - 1))
        way = draw(st.sampled_from(["change", "nudge", "lose", "repeat", "exchange", "cut"]))
        if way == "change":
            rows[place] = draw(st.integers(0, len(vocabulary) + 3))
        elif way == "nudge":
            rows[place] += 1
        elif way == "lose" and len(rows) > 1:
            del rows[place]
        elif way == "repeat":
            rows.insert(other, rows[place])
        elif way == "exchange":
            rows[place], rows[other] = rows[other], rows[place]
        elif way == "cut" and place:
            del rows[place:]
    return np.array(rows, np.uint16), vocabulary


@given(documents())
def test_what_is_legal_is_passed_over(drawn: tuple[TokenArray, Vocabulary]) -> None:
    tokens, vocabulary = drawn
    assert suspected([tokens, tokens], vocabulary) == []


@settings(max_examples=300)
@given(st.lists(spoiled(), min_size=1, max_size=3))
def test_what_is_not_legal_is_suspected(drawn: list[tuple[TokenArray, Vocabulary]]) -> None:
    for tokens, vocabulary in drawn:
        found = suspected([tokens], vocabulary) == [0]
        if not is_hidden(tokens, vocabulary):
            assert found is not legal(tokens, vocabulary)
        assert found or legal(tokens, vocabulary)


def test_each_document_is_judged_by_itself() -> None:
    good = from_text(
        f"PIECE_START TRACK_START INST=0 BAR_START {NOTE} BAR_END TRACK_END PIECE_END", PLAIN
    )
    sounding = good[good != PLAIN.note_off + 60]
    empty = np.zeros(0, np.uint16)
    assert suspected([good, sounding, good, empty, good], PLAIN) == [1, 3]


@pytest.mark.parametrize("tokens", [[-1], [1, 3, -5], [1, 3, 2**31 - 1]])
def test_ids_outside_the_vocabulary_are_suspected(tokens: list[int]) -> None:
    row = np.array(tokens, np.int32)
    assert list(suspect_documents(row, np.array([len(row)], np.int32), PLAIN)) == [0]


@pytest.mark.parametrize(
    "text",
    [
        "INST=0 FILL_IN TRACK_END FILL_START {note} FILL_END FILL_START FILL_END",
        "INST=0 FILL_IN FILL_IN TRACK_END FILL_START {note} FILL_END",
        "INST=0 FILL_IN TRACK_END FILL_START {note} BAR_END",
        "INST=0 FILL_IN TRACK_END",
        "FILL_IN INST=0 TRACK_END FILL_START {note} FILL_END",
        "INST=0 BAR_START {note} BAR_END TRACK_END FILL_START FILL_END",
    ],
)
def test_hidden_bars_that_are_not_told_are_suspected(text: str) -> None:
    tokens = from_text(f"PIECE_START TRACK_START {text} PIECE_END".format(note=NOTE), PLAIN)
    assert not legal(tokens, PLAIN)
    assert suspected([tokens], PLAIN) == [0]
