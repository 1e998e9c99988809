"""What the composing process is asked for, and what it tells of a piece."""

from pathlib import Path
from typing import Any

import pytest

from megatron_music.cli.app import app as program
from megatron_music.score.midi_reader import read_midi
from megatron_music.score.quantize import quantize
from megatron_music.studio.worker import compose_songs, facts_of
from megatron_music.tokenizer.vocabulary import TokenizerSettings
from tests.generate.conftest import CHORALE, untrained
from tests.studio.conftest import SYLLABLES, karaoke


def songs(model: Path, *numbers: int) -> list[dict[str, Any]]:
    """Return songs by number of one bar."""
    asked = {"model": "choir", "numbers": numbers, "bars": 1}
    return compose_songs(asked, {"choir": str(model)}, lambda event: None)  # noqa: ARG005


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported choir that knows two composers."""
    known = ("COMPOSER=BACH", "COMPOSER=PALESTRINA", "COMPOSER=UNKNOWN")
    settings = TokenizerSettings(bars=1, ensemble=CHORALE, attributes=known)
    return untrained(tmp_path_factory.mktemp("labelled"), settings)


def test_a_number_picks_a_label_in_turn_as_sample_is_asked_for_it(
    labelled: Path, tmp_path: Path
) -> None:
    made = songs(labelled, 6, 7, 8)
    labels = [song["facts"]["labels"] for song in made]
    assert labels == [["COMPOSER=BACH"], ["COMPOSER=PALESTRINA"], ["COMPOSER=BACH"]]
    asked = f"sample {labelled} -o {tmp_path} --song-id 7 --bars 1 --attribute COMPOSER=PALESTRINA"
    program([*asked.split(), "--no-wav", "--no-png", "--no-page"], standalone_mode=False)
    assert (tmp_path / "song-7.mid").read_bytes() == made[1]["midi"]


def test_a_song_of_a_model_without_labels_has_none(model: Path) -> None:
    assert songs(model, 6)[0]["facts"]["labels"] == []


def test_words_of_a_file_are_told_though_its_composer_knows_none(tmp_path: Path) -> None:
    path = karaoke(tmp_path / "star.kar")
    piece = quantize(read_midi(path), 4)
    assert not piece.is_sung
    assert facts_of(piece, 60, path)["syllables_by_track"] == [SYLLABLES]
