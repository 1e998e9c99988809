"""The same words again, exactly or nearly."""

from pathlib import Path

import pytest

from megatron_music.text.duplicates import Sketches, words_of
from tests.text.collection import verses

pytest.importorskip("datasketch")


def first_of_each(folder: Path, texts: list[str]) -> list[int]:
    sketches = Sketches(folder)
    sketches.add(texts[:1])
    sketches.add(texts[1:])
    return sketches.first_of_each().tolist()


def test_case_and_punctuation_make_no_other_song(tmp_path: Path) -> None:
    text = verses("QUEEN", 1, 20)
    others = [text.upper().replace("\n", "!\n"), verses("QUEEN", 2, 20)]
    assert first_of_each(tmp_path, [text, *others]) == [0, 0, 2]


def test_a_song_with_a_word_changed_is_the_same_song(tmp_path: Path) -> None:
    text = verses("QUEEN", 1, 40)
    lines = text.splitlines()
    changed = "\n".join([*lines[:10], "another line here", *lines[11:]])
    half = "\n".join([*lines[:20], verses("The Owls", 3, 20)])
    assert first_of_each(tmp_path, [text, changed, half]) == [0, 0, 2]


def test_texts_of_one_or_two_words_are_distinguished(tmp_path: Path) -> None:
    assert first_of_each(tmp_path, ["la", "la la", "lo", "La!"]) == [0, 1, 2, 0]


def test_languages_without_spaces_have_words() -> None:
    assert words_of("月が綺麗 Don't") == ["月", "が", "綺", "麗", "don", "t"]
