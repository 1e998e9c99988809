"""Which song is heard next: votes weigh in it, and chance keeps the rest of the pool in play."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from megatron_music.studio import service
from megatron_music.studio.database import StoredSong
from megatron_music.studio.server import find_models
from megatron_music.studio.service import Model, Studio


def song(number: int, key: str) -> StoredSong:
    tracks = [{"instrument": "Violin", "notes_per_bar": 4.0}]
    facts: dict[str, Any] = {"key": key, "notes_per_bar": 4.0, "tempo_bpm": 100.0, "tracks": tracks}
    return StoredSong(number, f"song {number}", facts, b"MThd")


@pytest.fixture
def studio(model: Path, tmp_path: Path) -> Iterator[Studio]:
    """A studio without its processes, with two songs of each mode in its pool."""
    made = Studio(find_models([model]), tmp_path)
    for number, key in enumerate(["C major", "A minor", "G major", "E minor"]):
        made.database.keep_song(made.first.key, song(number, key), is_fresh=True)
    yield made
    made.database.close()


def vote(studio: Studio, key: str, value: int) -> None:
    """Let eight people vote on a song that everybody has heard."""
    model, number = studio.first, 1000
    studio.database.keep_song(model.key, song(number, key), is_fresh=False)
    for visitor in range(8):
        studio.vote(model, number, f"visitor {visitor}", value)


def picked(studio: Studio, model: Model, count: int) -> list[int]:
    return [studio.pick(model) for _ in range(count)]


def test_songs_come_in_order_while_nobody_has_voted(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "TASTE_SHARE", 1.0)
    assert picked(studio, studio.first, 4) == [0, 1, 2, 3]


@pytest.mark.parametrize(("value", "first"), [(1, {1, 3}), (-1, {0, 2})])
def test_songs_like_those_voted_for_come_first(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, value: int, first: set[int]
) -> None:
    monkeypatch.setattr(service, "LIKED_SHARE", 0.0)
    monkeypatch.setattr(service, "TASTE_SHARE", 1.0)
    vote(studio, "D minor", value)
    assert set(picked(studio, studio.first, 2)) == first


def test_a_share_of_the_songs_comes_whatever_the_votes(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LIKED_SHARE", 0.0)
    monkeypatch.setattr(service, "TASTE_SHARE", 0.0)
    vote(studio, "D minor", 1)
    assert picked(studio, studio.first, 4) == [0, 1, 2, 3]


def test_songs_that_people_voted_for_come_again(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LIKED_SHARE", 1.0)
    vote(studio, "D minor", 1)
    assert studio.pick(studio.first) >= 1000
