"""Syllables as parts: pieces that are learned, and bytes for all else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_music.score.words import MARKS, clean_text
from megatron_music.tokenizer.spelling import PARTS, Spelling, learn_pieces

COUNTS = {"sing": 9, "ring": 5, "kling": 4, "grün": 3, "für": 2, "花": 2, "歌": 1}


def names(spelling: Spelling, sung: str) -> list[str]:
    return [spelling.parts[part] for part in spelling.spell(sung)]


def test_pieces_are_the_most_frequent_and_letters_of_several_bytes_come_first() -> None:
    assert learn_pieces(COUNTS, 5) == ("ü", "花", "ng", "ing", "sing")


@pytest.mark.parametrize(
    ("sung", "expected"),
    [
        ("sing ", ["sing", "WORD_END"]),
        ("bring\n", ["b", "r", "ing", "LINE_END"]),
        ("花", ["花"]),
        ("歌", ["<E6>", "<AD>", "<8C>"]),
        ("", []),
    ],
)
def test_a_syllable_is_spelled_in_the_longest_pieces(sung: str, expected: list[str]) -> None:
    assert names(Spelling(learn_pieces(COUNTS, 5)), sung) == expected


@given(
    st.text(st.characters(categories=("L", "M", "N")), min_size=1, max_size=12).map(clean_text),
    st.sampled_from(["", *MARKS]),
    st.lists(st.text("abcdeü花", min_size=1, max_size=4), max_size=20),
)
def test_any_syllable_is_spelled_and_read_again(
    text: str, mark: str, collection: list[str]
) -> None:
    spelling = Spelling(learn_pieces(dict.fromkeys(collection, 2), 12))
    sung = text + mark if text else ""
    parts = spelling.spell(sung)
    assert spelling.spelled(parts) == sung
    assert sum(spelling.lengths_bytes[part] for part in parts) == len(text.encode())


def test_nothing_is_learned_of_what_occurs_once_or_where_nothing_is_asked() -> None:
    assert learn_pieces({"once": 1}, 9) == ()
    assert learn_pieces(COUNTS, 0) == ()
    assert Spelling().parts == PARTS
