"""Votes, songs and versions are kept, whatever ends the server."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from megatron_music.errors import DataError
from megatron_music.studio import database
from megatron_music.studio.database import Database, StoredSong

KILLS = int(os.environ.get("STUDIO_KILLS", "3"))
FACTS = {"bars": 1}

VOTING = """
import sys
from pathlib import Path
from megatron_music.studio.database import Database
kept = Database(Path(sys.argv[1]))
first = kept.begin_project("m", "a piece", {}, b"MThd")
for number in range(int(sys.argv[2]), 10**9):
    kept.vote("m", number, "visitor", 1)
    kept.set_head(kept.begin_project("m", f"piece {number}", {}, b"MThd"))
    print(number, flush=True)
"""


@pytest.fixture
def kept(tmp_path: Path) -> Database:
    return Database(tmp_path / "studio.sqlite")


def song(number: int) -> StoredSong:
    return StoredSong(number, f"song {number}", FACTS, b"MThd")


def test_a_song_is_kept_for_each_model(kept: Database) -> None:
    kept.keep_song("one", song(2**62), is_fresh=False)
    assert kept.song("one", 2**62) == song(2**62)
    assert kept.song("other", 2**62) is None


def test_a_song_of_the_pool_is_there_until_it_is_taken(kept: Database) -> None:
    for number in (4, 3):
        kept.keep_song("m", song(number), is_fresh=True)
    assert kept.fresh("m") == [4, 3]
    kept.take_fresh("m", 4)
    assert kept.fresh("m") == [3]
    assert kept.any_song("m") in (3, 4)


def test_votes_for_and_against_a_song_are_counted(kept: Database) -> None:
    for number in (1, 2):
        kept.keep_song("m", song(number), is_fresh=False)
    for visitor, value in (("anna", 1), ("bert", 1), ("cleo", -1)):
        kept.vote("m", 1, visitor, value)
    assert kept.voted_for("m") == [(FACTS, 2, 1)]


def test_the_oldest_songs_without_a_vote_go_first(
    kept: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "MOST_SONGS", 2)
    kept.keep_song("m", song(1), is_fresh=False)
    kept.vote("m", 1, "anna", 1)
    for number in (2, 3, 4, 100):
        kept.keep_song("m", song(number), is_fresh=False)
    assert [number for number in (1, 2, 3, 4, 100) if kept.song("m", number)] == [1, 4, 100]


def test_a_visitor_has_one_vote_a_song_and_may_take_it_back(kept: Database) -> None:
    assert kept.vote("m", 7, "anna", 1) == 1
    assert kept.vote("m", 7, "anna", 1) == 1
    assert kept.vote("m", 7, "bert", 1) == 2
    assert kept.vote("m", 7, "anna", -1) == 0
    assert kept.vote("m", 7, "anna", 0) == 1
    assert kept.votes("other", 7) == 0


def test_the_best_songs_of_a_day_are_those_voted_for_on_it(
    kept: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        kept.keep_song("m", song(number), is_fresh=False)
    with monkeypatch.context() as earlier:
        earlier.setattr(database.time, "time", lambda: 1_000_000.0)
        for visitor in ("anna", "bert"):
            kept.vote("m", 1, visitor, 1)
    kept.vote("m", 2, "anna", 1)
    kept.vote("m", 3, "anna", -1)
    assert kept.best("m", "ever") == [(1, "song 1", 2), (2, "song 2", 1)]
    assert kept.best("m", "day") == [(2, "song 2", 1)]
    assert kept.any_liked("m") in (1, 2)


def test_a_database_of_a_later_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "studio.sqlite"
    Database(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(DataError, match="later version"):
        Database(path)


def test_every_earlier_version_of_the_tables_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = database.MIGRATIONS
    for version in range(len(newest) + 1):
        path = tmp_path / f"{version}.sqlite"
        with monkeypatch.context() as earlier:
            earlier.setattr(database, "MIGRATIONS", newest[:version])
            Database(path).close()
        opened = Database(path)
        assert opened.vote("m", 1, "anna", 1) == 1


def test_a_killed_server_has_lost_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    path, following = tmp_path / "studio.sqlite", 1
    for _ in range(KILLS):
        command = [sys.executable, "-c", VOTING, str(path), str(following)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as voting:
            assert voting.stdout is not None
            acknowledged = [int(voting.stdout.readline()) for _ in range(20)]
            voting.send_signal(signal.SIGKILL)
            acknowledged += [int(line) for line in voting.stdout if line.endswith("\n")]
        kept = Database(path)
        assert all(kept.votes("m", number) == 1 for number in acknowledged)
        with sqlite3.connect(path) as connection:
            titles = {row[0] for row in connection.execute("SELECT title FROM versions")}
        assert {f"piece {number}" for number in acknowledged} <= titles
        following = acknowledged[-1] + 2
