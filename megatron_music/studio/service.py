"""What the studio does, without HTTP: songs by number, the pool, projects, files of songs."""

import asyncio
import hashlib
import json
import logging
import secrets
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cachetools import LRUCache

from megatron_music.files import atomic_write
from megatron_music.studio.database import Database, StoredSong, Version
from megatron_music.studio.jobs import Job, JobFailedError, JobQueue, Priority
from megatron_music.studio.titles import title_of
from megatron_music.studio.worker import STEPS_PER_QUARTER

POOL_SONGS = 24
"""Songs of each model that are made before anybody asks."""

LIKED_SHARE = 0.25
"""Of the songs picked by chance: from those that people voted for, as Billion Songs did."""

LARGEST_NUMBER = 2**62
MOST_CACHED_BYTES = 2 << 30
MOST_ANSWERS_BYTES = 32 << 20
_REMEMBERED = 2_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """A model that the studio offers; `key` tells its songs from those of others."""

    name: str
    folder: Path
    key: str
    about: dict[str, Any]


class Studio:
    """The models, the database and the two lines of jobs: composing, and reading and playing."""

    def __init__(self, models: list[Model], folder: Path) -> None:
        self.models = {model.name: model for model in models}
        self.database = Database(folder / "studio.sqlite")
        self._cache = folder / "cache"
        folders = {model.name: str(model.folder) for model in models}
        self.composing = JobQueue("compose", folders)
        self.reading = JobQueue("read", folders)
        self._songs: LRUCache[tuple[str, int], StoredSong] = LRUCache(_REMEMBERED)
        self._answers: LRUCache[Hashable, bytes] = LRUCache(MOST_ANSWERS_BYTES, getsizeof=len)
        self._votes: dict[tuple[str, int], int] = {}
        self._making: dict[tuple[str, int], Job] = {}
        self._rendering: dict[Path, asyncio.Task[bytes]] = {}
        self._pool: asyncio.Task[None] | None = None

    @property
    def first(self) -> Model:
        """The model that is shown where none is named."""
        return next(iter(self.models.values()))

    def begin(self) -> None:
        """Begin to work, in the running event loop."""
        self.composing.begin()
        self.reading.begin()
        self.reading.put({"task": "warm"})
        self._pool = asyncio.create_task(self._fill_pool(), name="pool")

    async def close(self) -> None:
        """End all processes and close the database."""
        if self._pool is not None:
            self._pool.cancel()
            with suppress(asyncio.CancelledError):
                await self._pool
        await self.composing.close()
        await self.reading.close()
        self.database.close()

    # Songs by number.

    def song(self, model: Model, number: int) -> StoredSong | None:
        """Return a song that is made already."""
        key = (model.key, number)
        song = self._songs.get(key)
        if song is None:
            song = self.database.song(model.key, number)
            if song is not None:
                self._songs[key] = song
        return song

    def answer(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """Return what `make` wrote for a key before, or writes now; the key tells all it shows."""
        content = self._answers.get(key)
        if content is None:
            content = make()
            if len(content) <= self._answers.maxsize:
                self._answers[key] = content
        return content

    def ask_for_song(self, model: Model, number: int, rank: Priority = Priority.PERSON) -> Job:
        """Return the job that makes a song; all who ask for one song wait for one job."""
        key = (model.key, number)
        job = self._making.get(key)
        if job is None or job.is_over or job.rank > rank:
            work = {"task": "song", "model": model.name, "numbers": [number]}
            job = self._making[key] = self.composing.put(work, rank)
        return job

    async def made_song(
        self, model: Model, number: int, rank: Priority = Priority.PERSON
    ) -> StoredSong:
        """Return a song, made if need be; raises JobFailedError and QueueFullError."""
        song = self.song(model, number)
        if song is not None:
            return song
        job = self.ask_for_song(model, number, rank)
        try:
            made = (await job.wait())[0]
        finally:
            if self._making.get((model.key, number)) is job and job.is_over:
                del self._making[(model.key, number)]
        song = self.song(model, number)
        if song is None:
            title = title_of(made["facts"], number)
            song = StoredSong(number, title, made["facts"], made["midi"])
            self.database.keep_song(model.key, song, is_fresh=rank is Priority.POOL)
            self._songs[(model.key, number)] = song
        return song

    def pick(self, model: Model) -> int:
        """Return the number of a song to hear next: one people liked, or one that nobody knows."""
        if secrets.randbelow(1000) < LIKED_SHARE * 1000:
            liked = self.database.any_liked(model.key)
            if liked is not None:
                return liked
        fresh = self.database.take_fresh(model.key)
        if fresh is not None:
            return fresh
        known = self.database.any_song(model.key)
        return self._new_number() if known is None else known

    @staticmethod
    def _new_number() -> int:
        return secrets.randbelow(1_000_000_000)

    async def _fill_pool(self) -> None:
        """Keep the pools full while nobody waits."""
        while True:
            model = next(
                (
                    one
                    for one in self.models.values()
                    if self.database.count_fresh(one.key) < POOL_SONGS
                ),
                None,
            )
            if model is None or not self.composing.is_idle:
                await asyncio.sleep(0.5)
                continue
            try:
                await self.made_song(model, self._new_number(), Priority.POOL)
            except JobFailedError as fault:
                _log.warning("the pool cannot be filled: %s", fault)
                await asyncio.sleep(10)

    # Votes.

    def votes(self, model: Model, number: int) -> int:
        """Return the sum of the votes on a song."""
        key = (model.key, number)
        if key not in self._votes:
            self._votes[key] = self.database.votes(model.key, number)
        return self._votes[key]

    def vote(self, model: Model, number: int, visitor: str, value: int) -> int:
        """Set a visitor's vote on a song and return the sum of all."""
        total = self.database.vote(model.key, number, visitor, value)
        self._votes[(model.key, number)] = total
        return total

    # Files made of a song's MIDI.

    async def rendered(self, midi: bytes, kind: str, title: str) -> bytes:
        """Return sound, a picture or a score of a MIDI file, cached; raises JobFailedError."""
        told = hashlib.sha256(
            midi + f" {kind} {title if kind in ('png', 'musicxml') else ''}".encode()
        )
        path = self._cache / f"{told.hexdigest()}.{kind}"
        if path.is_file():
            return path.read_bytes()
        task = self._rendering.get(path)
        if task is None:
            task = asyncio.create_task(self._render(path, midi, kind, title))
            self._rendering[path] = task
            task.add_done_callback(lambda _: self._rendering.pop(path, None))
        return await asyncio.shield(task)

    async def _render(self, path: Path, midi: bytes, kind: str, title: str) -> bytes:
        work = {"task": "render", "midi": midi, "kind": kind, "title": title}
        made: bytes = await self.reading.put(work).wait()
        with atomic_write(path) as temporary:
            temporary.write_bytes(made)
        await asyncio.to_thread(self._trim_cache)
        return made

    def _trim_cache(self) -> None:
        files = sorted(self._cache.iterdir(), key=lambda one: one.stat().st_mtime)
        size_bytes = sum(one.stat().st_size for one in files)
        while size_bytes > MOST_CACHED_BYTES and files:
            oldest = files.pop(0)
            size_bytes -= oldest.stat().st_size
            oldest.unlink(missing_ok=True)

    # Pieces that people work on.

    async def begin_from_upload(self, model: Model, content: bytes, name: str) -> Version:
        """Begin a project with a person's file; raises JobFailedError where it cannot be read."""
        work = {
            "task": "read",
            "content": content,
            "name": name,
            "steps_per_quarter": STEPS_PER_QUARTER,
        }
        read = await self.reading.put(work).wait()
        return self.database.begin_project(model.name, name, read["facts"], read["midi"])

    async def begin_from_song(self, model: Model, number: int) -> Version:
        """Begin a project with a song by number."""
        song = await self.made_song(model, number)
        return self.database.begin_project(model.name, song.title, song.facts, song.midi)

    def compose(self, model: Model, wishes: dict[str, Any], parent: Version | None) -> Job:
        """Put a person's wishes into the line; `composed` turns the result into versions."""
        midi = None if parent is None else parent.midi
        work = {"task": "compose", "model": model.name, "wishes": wishes, "midi": midi}
        job = self.composing.put(work)
        job.about["parent"] = parent
        return job

    def composed(self, job: Job) -> list[Version]:
        """Return what a job composed as versions, kept in the database at the first call."""
        versions: list[Version] | None = job.about.get("versions")
        if versions is None:
            versions = job.about["versions"] = self._new_versions(job)
        return versions

    def _new_versions(self, job: Job) -> list[Version]:
        parent: Version | None = job.about["parent"]
        wishes = json.loads(json.dumps(job.work["wishes"]))
        made = [
            Version(
                secrets.token_urlsafe(16),
                "" if parent is None else parent.project,
                None if parent is None else parent.key,
                title_of(one["facts"], one["number"]) if parent is None else parent.title,
                wishes,
                one["facts"],
                one["midi"],
                False,
            )
            for one in job.result
        ]
        if parent is None:
            model = job.work["model"]
            return [
                self.database.begin_project(model, one.title, one.facts, one.midi) for one in made
            ]
        self.database.add_versions(parent, made)
        return made
