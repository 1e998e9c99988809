"""The figures of a model of words, on texts whose figures are known."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from megatron_music.text.evaluate_words import distinct, longest_copies


def test_the_longest_run_of_words_from_training_is_found() -> None:
    training = [["one", "two", "three", "four", "five", "six"], ["nine", "ten"]]
    songs = [["x", "two", "three", "four", "five", "y"], ["one", "two", "three"], []]
    assert longest_copies(songs, training) == [["two", "three", "four", "five"], [], []]


def test_a_text_that_repeats_itself_has_few_different_runs() -> None:
    assert distinct(["la la la la"], 100) == {
        "1": 0.25,
        "2": pytest.approx(1 / 3),
        "3": 0.5,
    }
    assert distinct(["one two three"], 100) == {"1": 1.0, "2": 1.0, "3": 1.0}
    assert distinct([""], 100) == {"1": 0.0, "2": 0.0, "3": 0.0}
