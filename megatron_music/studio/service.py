"""The studio without HTTP: songs by number, the pool, projects, files of songs."""

import asyncio
import hashlib
import json
import logging
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cachetools import LRUCache

from megatron_music.files import atomic_write
from megatron_music.studio.database import Database, StoredSong, Version
from megatron_music.studio.embedded_songs import read_songs
from megatron_music.studio.jobs import Job, JobFailedError, JobQueue, Priority
from megatron_music.studio.response_cache import ReadyAnswers
from megatron_music.studio.song_traits import Liking, title_of
from megatron_music.studio.worker import STEPS_PER_QUARTER

POOL_SONGS = 24
"""Songs of each model that are made before anybody asks."""

LIKED_SHARE = 0.25
"""Of the songs picked by chance: from those that people voted for, as Billion Songs did."""

TASTE_SHARE = 0.5
"""Of the new songs: the one of the pool that is most like what people voted for."""

LIKING_AGE_S = 60.0
"""How long the weights of traits are kept before votes are counted again."""

LARGEST_NUMBER = 2**62
MOST_CACHED_BYTES = 2 << 30
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
    """The models, the database and three queues of jobs: composing, playing, and reading uploads.

    An upload that is slow to read delays only other uploads.
    """

    def __init__(self, models: list[Model], folder: Path) -> None:
        self.models = {model.name: model for model in models}
        self.database = Database(folder / "studio.sqlite")
        self._cache = folder / "cache"
        folders = {model.name: str(model.folder) for model in models}
        self.composing = JobQueue("compose", folders)
        self.playing = JobQueue("play", folders)
        self.reading = JobQueue("read", folders)
        self._songs: LRUCache[tuple[str, int], StoredSong] = LRUCache(_REMEMBERED)
        self._votes: LRUCache[tuple[str, int], int] = LRUCache(_REMEMBERED)
        self.ready = ReadyAnswers()
        self._making: dict[tuple[str, int], Job] = {}
        self._rendering: dict[Path, asyncio.Task[bytes]] = {}
        self._likings: dict[str, tuple[float, Liking]] = {}
        self._pool: list[asyncio.Task[None]] = []
        self._pool_changed = asyncio.Event()

    @property
    def first(self) -> Model:
        """The model that is shown where none is named."""
        return next(iter(self.models.values()))

    def begin(self) -> None:
        """Begin to work, in the running event loop."""
        self.composing.begin()
        self.reading.begin()
        self.playing.begin()
        self.playing.put({"task": "warm"})
        for model in self.models.values():
            for song in read_songs(model.folder, model.key):
                if self.song(model, song.number) is None:
                    self.database.keep_song(model.key, song, is_fresh=True)
        self._pool = [
            asyncio.create_task(self._compose_pool(), name="pool"),
            asyncio.create_task(self._play_pool(), name="sound of the pool"),
        ]

    async def close(self) -> None:
        """End all processes and close the database."""
        for task in self._pool:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self.composing.close()
        await self.reading.close()
        await self.playing.close()
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

    def ask_for_song(self, model: Model, number: int, rank: Priority = Priority.PERSON) -> Job:
        """Return the job that makes a song; requests for the same song share one job."""
        key = (model.key, number)
        job = self._making.get(key)
        # A person does not wait in the pool's place in the line.
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
            # A song that a person asked for has been heard: it does not wait in the pool.
            self.database.keep_song(model.key, song, is_fresh=rank is Priority.POOL)
            self._songs[(model.key, number)] = song
            self._pool_changed.set()
        return song

    def pick(self, model: Model) -> int:
        """Return the number of a song to hear next: a liked one, or a new one."""
        if _by_chance(LIKED_SHARE):
            liked = self.database.any_liked(model.key)
            if liked is not None:
                return liked
        fresh = self.database.fresh(model.key)
        if fresh:
            number = self._by_taste(model, fresh) if _by_chance(TASTE_SHARE) else fresh[0]
            self.database.take_fresh(model.key, number)
            self._pool_changed.set()
            return number
        known = self.database.any_song(model.key)
        return self._new_number() if known is None else known

    def _by_taste(self, model: Model, numbers: list[int]) -> int:
        """Return the song that is most like what people voted for, the first of several."""
        then_s, liking = self._likings.get(model.key, (0.0, None))
        if liking is None or time.monotonic() - then_s > LIKING_AGE_S:
            liking = Liking(self.database.voted_for(model.key))
            self._likings[model.key] = time.monotonic(), liking
        songs = [song for number in numbers if (song := self.song(model, number)) is not None]
        best = max(songs, key=lambda song: liking.score(song.facts), default=None)
        return numbers[0] if best is None else best.number

    @staticmethod
    def _new_number() -> int:
        return secrets.randbelow(1_000_000_000)

    @property
    def is_idle(self) -> bool:
        """True where no job waits or runs, and the pools and their sound are complete."""
        lines = (self.composing, self.playing, self.reading)
        return (
            all(line.is_idle for line in lines)
            and self._model_to_fill() is None
            and self._song_to_play() is None
        )

    def _model_to_fill(self) -> Model | None:
        """Return the first model whose pool lacks songs."""
        every = self.models.values()
        return next((one for one in every if len(self.database.fresh(one.key)) < POOL_SONGS), None)

    def _song_to_play(self) -> StoredSong | None:
        """Return the first song of a pool whose sound is not made."""
        for model in self.models.values():
            for number in self.database.fresh(model.key):
                song = self.song(model, number)
                if song is not None and not self._file_of(song.midi, "mp3", song.title).is_file():
                    return song
        return None

    async def _compose_pool(self) -> None:
        """Fill the pools while no job waits."""
        while True:
            await self.composing.until_idle()
            model = self._model_to_fill()
            if model is None:
                await self._pool_change()
                continue
            try:
                await self.made_song(model, self._new_number(), Priority.POOL)
            except JobFailedError as fault:
                _log.warning("the pool cannot be filled: %s", fault)
                await asyncio.sleep(10)

    async def _play_pool(self) -> None:
        """Make the sound of the songs that somebody will hear next."""
        while True:
            await self.playing.until_idle()
            song = self._song_to_play()
            if song is None:
                await self._pool_change()
                continue
            try:
                await self.rendered(song.midi, "mp3", song.title, Priority.POOL)
            except (JobFailedError, OSError) as fault:
                _log.warning("the sound of the pool cannot be made: %s", fault)
                await asyncio.sleep(60)

    async def _pool_change(self) -> None:
        """Return after a song has come into a pool or has left it."""
        self._pool_changed.clear()
        await self._pool_changed.wait()

    # Votes.

    def votes(self, model: Model, number: int) -> int:
        """Return the sum of the votes on a song."""
        key = (model.key, number)
        total = self._votes.get(key)
        if total is None:
            total = self._votes[key] = self.database.votes(model.key, number)
        return total

    def vote(self, model: Model, number: int, visitor: str, value: int) -> int:
        """Set a visitor's vote on a song and return the sum of all."""
        total = self.database.vote(model.key, number, visitor, value)
        self._votes[(model.key, number)] = total
        self.ready.forget((model.key, number))
        return total

    # Files made of a song's MIDI.

    async def rendered(
        self, midi: bytes, kind: str, title: str, rank: Priority = Priority.PERSON
    ) -> bytes:
        """Return sound, a picture or a score of a MIDI file, cached; raises JobFailedError."""
        path = self._file_of(midi, kind, title)
        if path.is_file():
            return path.read_bytes()
        task = self._rendering.get(path)
        if task is None:
            work = {"task": "render", "midi": midi, "kind": kind, "title": title}

            async def render() -> bytes:
                """Have the file made, and cache it."""
                made: bytes = await self.playing.put(work, rank).wait()
                with atomic_write(path) as temporary:
                    temporary.write_bytes(made)
                await asyncio.to_thread(self._trim_cache)
                return made

            task = asyncio.create_task(render())
            self._rendering[path] = task
            task.add_done_callback(lambda _: self._rendering.pop(path, None))
        # Several may wait for one file: whoever leaves does not cancel it for the others.
        return await asyncio.shield(task)

    def _file_of(self, midi: bytes, kind: str, title: str) -> Path:
        # Only these show the title.
        shown = title if kind in ("png", "musicxml") else ""
        digest = hashlib.sha256(midi + f" {kind} {shown}".encode())
        return self._cache / f"{digest.hexdigest()}.{kind}"

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
        """Queue a person's request; `composed` turns the result into versions."""
        midi = None if parent is None else parent.midi
        work = {"task": "compose", "model": model.name, "wishes": wishes, "midi": midi}
        job = self.composing.put(work)
        job.about["parent"] = parent
        return job

    def composed(self, job: Job) -> list[Version]:
        """Return what a job composed as versions, kept in the database at the first call."""
        known: list[Version] | None = job.about.get("versions")
        if known is not None:
            return known
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
        if parent is None:  # each variation begins a project of its own
            model = job.work["model"]
            made = [
                self.database.begin_project(model, one.title, one.facts, one.midi) for one in made
            ]
        else:
            self.database.add_versions(parent, made)
        job.about["versions"] = made
        return made


def _by_chance(share: float) -> bool:
    return secrets.randbelow(1000) < share * 1000
