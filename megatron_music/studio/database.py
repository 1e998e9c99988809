"""The studio's tables: songs by number, votes, and the versions of pieces that people work on.

SQLite in WAL mode: a vote or a version that was answered with success survives a killed server.
"""

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, text

from megatron_music.errors import DataError

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL)",
        "CREATE TABLE songs (model TEXT, number INTEGER, title TEXT NOT NULL, facts TEXT NOT NULL,"
        " midi BLOB NOT NULL, made_s REAL NOT NULL, is_fresh INTEGER NOT NULL,"
        " PRIMARY KEY (model, number)) WITHOUT ROWID",
        "CREATE INDEX fresh_songs ON songs (model, is_fresh)",
        "CREATE TABLE votes (model TEXT, number INTEGER, visitor TEXT, value INTEGER NOT NULL,"
        " voted_s REAL NOT NULL, PRIMARY KEY (model, number, visitor)) WITHOUT ROWID",
        "CREATE INDEX votes_by_time ON votes (model, voted_s)",
        "CREATE TABLE versions (key TEXT PRIMARY KEY, project TEXT NOT NULL, parent TEXT,"
        " title TEXT NOT NULL, wishes TEXT NOT NULL, facts TEXT NOT NULL, midi BLOB NOT NULL,"
        " made_s REAL NOT NULL, is_kept INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE INDEX versions_of_project ON versions (project, made_s)",
        "CREATE TABLE projects (key TEXT PRIMARY KEY, model TEXT NOT NULL, head TEXT NOT NULL)"
        " WITHOUT ROWID",
    ),
)
"""The statements of each migration. Add new ones at the end; never change old ones."""

DAY_S = 86_400
PERIODS_S = {"day": DAY_S, "month": 30 * DAY_S, "ever": None}
"""How far back the votes of a list of the best songs go."""

MOST_SONGS = 100_000
"""Songs kept for each model; beyond it the oldest without a vote go. They can be made again."""


@dataclass(frozen=True)
class StoredSong:
    """A song by number: its MIDI file, and `facts` as JSON holds them."""

    number: int
    title: str
    facts: dict[str, Any]
    midi: bytes


@dataclass(frozen=True)
class Version:
    """A piece that a person works on, as it was at one time; `parent` is what it was made from."""

    key: str
    project: str
    parent: str | None
    title: str
    wishes: dict[str, Any]
    facts: dict[str, Any]
    midi: bytes
    is_kept: bool


class Database:
    """The tables of a studio in one file; raises DataError for a file of a later program."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._engine = engine = create_engine(f"sqlite:///{path}")

        @event.listens_for(engine, "connect")
        def configure(connection: Any, _record: Any) -> None:
            """Set a new connection up."""
            connection.isolation_level = None  # else a migration's statements are no transaction
            connection.execute("PRAGMA journal_mode = WAL")
            # In WAL mode this loses nothing when the program is killed, at most the last moments at
            # a power cut.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA busy_timeout = 5000")

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            """Begin a transaction."""
            # The driver begins no transactions itself any more.
            connection.exec_driver_sql("BEGIN")

        with self._engine.begin() as connection:
            version = int(connection.execute(text("PRAGMA user_version")).scalar_one())
            if version > len(MIGRATIONS):
                raise DataError(
                    f"{path} was written by a later version of megatron-music (tables {version}, "
                    f"this one knows {len(MIGRATIONS)}); update it, or give another --folder"
                )
            for statements in MIGRATIONS[version:]:
                for statement in statements:
                    connection.execute(text(statement))
            connection.execute(text(f"PRAGMA user_version = {len(MIGRATIONS)}"))

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()

    def secret(self) -> bytes:
        """Return the key that visitors' cookies are signed with, made at the first call."""
        with self._engine.begin() as connection:
            connection.execute(
                # Ignored where there is one: processes that start together get the same key.
                text("INSERT OR IGNORE INTO secrets VALUES ('cookies', :value)"),
                {"value": secrets.token_bytes(32)},
            )
            found = connection.execute(text("SELECT value FROM secrets WHERE name = 'cookies'"))
            return bytes(found.scalar_one())

    # Songs by number.

    def song(self, model: str, number: int) -> StoredSong | None:
        """Return a song, None where it is not made yet."""
        statement = "SELECT title, facts, midi FROM songs WHERE model = :model AND number = :number"
        with self._engine.connect() as connection:
            row = connection.execute(text(statement), {"model": model, "number": number}).first()
        return None if row is None else StoredSong(number, row[0], json.loads(row[1]), row[2])

    def keep_song(self, model: str, song: StoredSong, *, is_fresh: bool) -> None:
        """Keep a song; a fresh one waits in the pool until somebody hears it."""
        row = {
            "model": model,
            "number": song.number,
            "title": song.title,
            "facts": json.dumps(song.facts),
            "midi": song.midi,
            "made_s": time.time(),
            "is_fresh": is_fresh,
        }
        with self._engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT OR REPLACE INTO songs VALUES"
                    " (:model, :number, :title, :facts, :midi, :made_s, :is_fresh)"
                ),
                row,
            )
            if song.number % 100 == 0:  # now and then is enough
                connection.execute(
                    text(
                        # SQLite has OFFSET only after LIMIT; -1 is no limit.
                        "DELETE FROM songs WHERE model = :model AND number IN (SELECT number FROM"
                        " songs WHERE model = :model AND number NOT IN (SELECT number FROM votes"
                        " WHERE model = :model) ORDER BY made_s DESC LIMIT -1 OFFSET :most)"
                    ),
                    {"model": model, "most": MOST_SONGS},
                )

    def fresh(self, model: str) -> list[int]:
        """Return the numbers of the songs that wait in the pool, the oldest first."""
        statement = "SELECT number FROM songs WHERE model = :model AND is_fresh ORDER BY made_s"
        with self._engine.connect() as connection:
            return list(connection.execute(text(statement), {"model": model}).scalars())

    def take_fresh(self, model: str, number: int) -> None:
        """Take a song out of the pool."""
        statement = "UPDATE songs SET is_fresh = 0 WHERE model = :model AND number = :number"
        with self._engine.begin() as connection:
            connection.execute(text(statement), {"model": model, "number": number})

    def voted_for(self, model: str, count: int = 500) -> list[tuple[dict[str, Any], int, int]]:
        """Return the facts of the songs that were voted on last, with votes for and against."""
        statement = (
            "SELECT facts, sum(value > 0), sum(value < 0) FROM votes JOIN songs USING"
            " (model, number) WHERE votes.model = :model GROUP BY votes.number"
            " ORDER BY max(voted_s) DESC LIMIT :count"
        )
        row = {"model": model, "count": count}
        with self._engine.connect() as connection:
            found = connection.execute(text(statement), row)
            return [(json.loads(facts), likes, dislikes) for facts, likes, dislikes in found]

    def any_song(self, model: str) -> int | None:
        """Return the number of a song that is made, by chance."""
        statement = "SELECT number FROM songs WHERE model = :model ORDER BY random() LIMIT 1"
        with self._engine.connect() as connection:
            return connection.execute(text(statement), {"model": model}).scalar()

    # Votes.

    def vote(self, model: str, number: int, visitor: str, value: int) -> int:
        """Set a visitor's vote on a song (1, -1; 0 takes it back) and return the sum of all."""
        row = {
            "model": model,
            "number": number,
            "visitor": visitor,
            "value": value,
            "now": time.time(),
        }
        statement = (
            "INSERT OR REPLACE INTO votes VALUES (:model, :number, :visitor, :value, :now)"
            if value
            else "DELETE FROM votes WHERE model = :model AND number = :number"
            " AND visitor = :visitor"
        )
        with self._engine.begin() as connection:
            connection.execute(text(statement), row)
            return _votes(connection, model, number)

    def votes(self, model: str, number: int) -> int:
        """Return the sum of the votes on a song."""
        with self._engine.connect() as connection:
            return _votes(connection, model, number)

    def best(self, model: str, period: str, count: int = 10) -> list[tuple[int, str, int]]:
        """Return number, title and votes of the songs with the most votes of a period, best first.

        A song whose votes sum to less than 1 is not among them.
        """
        length_s = PERIODS_S[period]
        since = 0.0 if length_s is None else time.time() - length_s
        statement = (
            "SELECT votes.number, songs.title, sum(value) AS total FROM votes JOIN songs USING"
            " (model, number) WHERE votes.model = :model AND voted_s >= :since"
            " GROUP BY votes.number HAVING total > 0 ORDER BY total DESC, max(voted_s) LIMIT :count"
        )
        row = {"model": model, "since": since, "count": count}
        with self._engine.connect() as connection:
            return [(one[0], one[1], one[2]) for one in connection.execute(text(statement), row)]

    def any_liked(self, model: str) -> int | None:
        """Return the number of a song that more people liked than not, by chance."""
        statement = (
            "SELECT number FROM votes JOIN songs USING (model, number) WHERE votes.model = :model"
            " GROUP BY number HAVING sum(value) > 0 ORDER BY random() LIMIT 1"
        )
        with self._engine.connect() as connection:
            return connection.execute(text(statement), {"model": model}).scalar()

    # Pieces that people work on.

    def begin_project(self, model: str, title: str, facts: dict[str, Any], midi: bytes) -> Version:
        """Begin a project with the piece that it is about."""
        project = secrets.token_urlsafe(16)
        first = Version(secrets.token_urlsafe(16), project, None, title, {}, facts, midi, True)
        with self._engine.begin() as connection:
            _insert(connection, [first])
            connection.execute(
                text("INSERT INTO projects VALUES (:key, :model, :head)"),
                {"key": project, "model": model, "head": first.key},
            )
        return first

    def add_versions(self, parent: Version, made: Sequence[Version]) -> None:
        """Keep versions that were composed from `parent`, not chosen yet."""
        with self._engine.begin() as connection:
            _insert(connection, made)
            connection.execute(
                text(
                    "DELETE FROM versions WHERE project = :project AND NOT is_kept"
                    " AND made_s < :before"
                ),
                {"project": parent.project, "before": time.time() - DAY_S},
            )

    def version(self, key: str) -> Version | None:
        """Return a version, None where there is none of this key."""
        with self._engine.connect() as connection:
            row = connection.execute(
                text(f"SELECT {_VERSION} FROM versions WHERE key = :key"),  # noqa: S608
                {"key": key},
            ).first()
        return None if row is None else _version(row)

    def project(self, key: str) -> tuple[str, str, list[Version]] | None:
        """Return the model, the head and the kept versions of a project, oldest first."""
        with self._engine.connect() as connection:
            found = connection.execute(
                text("SELECT model, head FROM projects WHERE key = :key"), {"key": key}
            ).first()
            if found is None:
                return None
            statement = (
                f"SELECT {_VERSION} FROM versions WHERE project = :key AND is_kept"  # noqa: S608
                " ORDER BY made_s, key"
            )
            rows = connection.execute(text(statement), {"key": key})
            return found[0], found[1], list(map(_version, rows))

    def set_head(self, version: Version) -> None:
        """Go to a version of its project; one that was only composed is kept from now on."""
        row = {"project": version.project, "key": version.key}
        with self._engine.begin() as connection:
            connection.execute(text("UPDATE versions SET is_kept = 1 WHERE key = :key"), row)
            connection.execute(text("UPDATE projects SET head = :key WHERE key = :project"), row)


_VERSION = "key, project, parent, title, wishes, facts, midi, is_kept"


def _version(row: Sequence[Any]) -> Version:
    key, project, parent, title, wishes, facts, midi, is_kept = row
    parsed = (json.loads(wishes), json.loads(facts))
    return Version(key, project, parent, title, *parsed, midi, bool(is_kept))


def _insert(connection: Connection, versions: Sequence[Version]) -> None:
    if not versions:
        return
    connection.execute(
        text(
            "INSERT INTO versions VALUES (:key, :project, :parent, :title, :wishes, :facts, :midi,"
            " :made_s, :is_kept)"
        ),
        [
            vars(one)
            | {
                "wishes": json.dumps(one.wishes),
                "facts": json.dumps(one.facts),
                "made_s": time.time(),
            }
            for one in versions
        ],
    )


def _votes(connection: Connection, model: str, number: int) -> int:
    statement = (
        "SELECT coalesce(sum(value), 0) FROM votes WHERE model = :model AND number = :number"
    )
    row = {"model": model, "number": number}
    return int(connection.execute(text(statement), row).scalar_one())
