"""A queue of jobs for one process: people come before the pool; a crash fails one job only."""

import asyncio
import heapq
import itertools
import logging
import multiprocessing
import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from enum import IntEnum, StrEnum
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from megatron_music.studio.worker import serve

MOST_WAITING = 1_000
LONGEST_JOB_S = 600.0
KEPT_DONE = 500
"""Jobs that have ended and are remembered: a page that lost its connection asks again."""

# Not forked: the server has threads and an event loop.
_SPAWN = multiprocessing.get_context("spawn")
_log = logging.getLogger(__name__)


class Priority(IntEnum):
    """The order of jobs: lower numbers run first."""

    PERSON = 0
    POOL = 1


class State(StrEnum):
    """How far a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class QueueFullError(Exception):
    """More jobs wait than are taken."""


class JobFailedError(Exception):
    """A job that ended without a result; the message is for the person who asked."""


class Job:
    """A piece of work, its events so far, and its result once it is done.

    `work` goes to the process, `about` is what the server remembers of it.
    """

    def __init__(self, work: dict[str, Any], rank: Priority) -> None:
        self.key = secrets.token_urlsafe(16)
        self.work = work
        self.about: dict[str, Any] = {}
        self.rank = rank
        self.state = State.WAITING
        self.events: list[dict[str, Any]] = []
        self.result: Any = None
        self.reason = ""
        self._changed = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """True where nothing more will come."""
        return self.state not in (State.WAITING, State.RUNNING)

    def publish(self, event: dict[str, Any]) -> None:
        """Add an event and wake all who wait for it."""
        self.events.append(event)
        self._changed.set()
        self._changed = asyncio.Event()

    def end(self, state: State, *, result: Any = None, reason: str = "") -> None:
        """End the job and tell all who wait for it."""
        self.state, self.result, self.reason = state, result, reason
        self.publish({"event": state.value, "reason": reason})

    async def wait(self) -> Any:
        """Return the result; raises JobFailedError."""
        while not self.is_over:
            await self._changed.wait()
        if self.state is not State.DONE:
            raise JobFailedError(self.reason or "it was cancelled")
        return self.result

    async def follow(self) -> AsyncIterator[dict[str, Any]]:
        """Yield all events of the job, past ones first, until it ends."""
        # One at a time: more are published while the reader of the last one is busy.
        for sent in itertools.count():
            while sent == len(self.events):
                if self.is_over:
                    return
                await self._changed.wait()
            yield self.events[sent]


class JobQueue:
    """Jobs of one process, in order."""

    def __init__(self, name: str, models: dict[str, str]) -> None:
        self._name = name
        self._models = models
        self._jobs: dict[str, Job] = {}
        self._heap: list[tuple[int, int, Job]] = []
        self._numbers = itertools.count()
        self._turns = itertools.count(1)
        self._turn = 0
        self._running: Job | None = None
        self._more = asyncio.Event()
        self._idle = asyncio.Event()
        # A shared number, not a message: a process reads its pipe only between jobs.
        self._cancelled = _SPAWN.Value("q", 0)
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._usual_s = 3.0

    def begin(self) -> None:
        """Begin to run jobs, in the running event loop."""
        self._task = asyncio.create_task(self._run_jobs(), name=f"line {self._name}")

    async def close(self) -> None:
        """Drop the jobs that are left, and end the process."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._end_process()

    def put(self, work: dict[str, Any], rank: Priority = Priority.PERSON) -> Job:
        """Queue a job; raises QueueFullError.

        A running job of the pool is stopped for a person's job, and queued again.
        """
        if len(self._heap) >= MOST_WAITING:
            raise QueueFullError
        job = Job(work, rank)
        self._jobs[job.key] = job
        self._push(job)
        over = [key for key, job in self._jobs.items() if job.is_over]
        for key in over[: max(0, len(over) - KEPT_DONE)]:
            del self._jobs[key]
        running = self._running
        if running is not None and running.rank is Priority.POOL and rank is Priority.PERSON:
            self._cancelled.value = self._turn
        return job

    def _push(self, job: Job) -> None:
        # The number keeps jobs of one rank in order, and jobs themselves are never compared.
        heapq.heappush(self._heap, (job.rank, next(self._numbers), job))
        self._idle.clear()
        self._more.set()

    def job(self, key: str) -> Job | None:
        """Return a job that is not forgotten yet."""
        return self._jobs.get(key)

    @property
    def is_idle(self) -> bool:
        """True where nothing runs and nothing waits."""
        return self._running is None and not self._heap

    async def until_idle(self) -> None:
        """Return once nothing runs and nothing waits."""
        while not self.is_idle:
            await self._idle.wait()

    def place(self, job: Job) -> tuple[int, float]:
        """Return how many jobs come before this one, and in how many seconds it may be done."""
        if job.is_over:
            return 0, 0.0
        if job.state is State.RUNNING:
            return 0, self._usual_s
        mine = next(entry[:2] for entry in self._heap if entry[2] is job)
        ahead = (self._running is not None) + sum(
            entry[:2] < mine and entry[2].state is State.WAITING for entry in self._heap
        )
        return ahead, (ahead + 1) * self._usual_s

    def cancel(self, job: Job) -> None:
        """Cancel a job that waits or runs."""
        if job.state is State.WAITING:
            job.end(State.CANCELLED, reason="cancelled")
        elif job.state is State.RUNNING:
            self._cancelled.value = self._turn
            job.about["is_unwanted"] = True

    async def _run_jobs(self) -> None:
        while True:
            while not self._heap:
                self._idle.set()
                self._more.clear()
                await self._more.wait()
            job = heapq.heappop(self._heap)[2]
            if job.state is not State.WAITING:
                continue
            self._running, self._turn, job.state = job, next(self._turns), State.RUNNING
            job.publish({"event": "running"})
            began_s = time.monotonic()
            try:
                async with asyncio.timeout(LONGEST_JOB_S):
                    await self._run(job)
            except TimeoutError:
                self._end_process()
                job.end(State.FAILED, reason="it took too long; ask for less")
            except (EOFError, OSError) as fault:
                self._end_process()
                _log.warning("a process of the line %s died: %r", self._name, fault)
                job.end(State.FAILED, reason="the process that worked on it died; try again")
            finally:
                self._running = None
            if job.state is State.DONE:
                # A moving average: it follows a change of the model or of the machine.
                self._usual_s += 0.2 * (time.monotonic() - began_s - self._usual_s)

    async def _run(self, job: Job) -> None:
        if self._pipe is None or self._process is None or not self._process.is_alive():
            self._end_process()
            ours, theirs = _SPAWN.Pipe()
            self._process = _SPAWN.Process(
                target=serve,
                args=(theirs, self._models, self._cancelled),
                name=f"studio-{self._name}",
                daemon=True,
            )
            self._process.start()
            theirs.close()
            self._pipe = ours
        pipe = self._pipe
        # In a thread: a file longer than the pipe's buffer blocks until the process reads it.
        await asyncio.to_thread(pipe.send, job.work | {"turn": self._turn})
        while True:
            event = await receive(pipe)
            if event["event"] == "done":
                job.end(State.DONE, result=event["result"])
                return
            if event["event"] == "failed":
                if event["reason"] != "cancelled":
                    if event["is_ours"]:
                        _log.error("a job of the line %s failed: %s", self._name, event["reason"])
                    hint = "an error of the studio; its log says more" if event["is_ours"] else ""
                    job.end(State.FAILED, reason=hint or event["reason"])
                elif job.rank is Priority.POOL and "is_unwanted" not in job.about:
                    job.state = State.WAITING
                    self._push(job)
                else:
                    job.end(State.CANCELLED, reason="cancelled")
                return
            job.publish(event)

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None


async def receive(pipe: Connection) -> Any:
    """Receive from a pipe without blocking the event loop; raises EOFError."""
    loop = asyncio.get_running_loop()
    ready, file = loop.create_future(), pipe.fileno()

    def wake() -> None:
        """Let the receiver read."""
        if not ready.done():
            ready.set_result(None)

    if not pipe.poll():
        loop.add_reader(file, wake)
        try:
            await ready
        finally:
            loop.remove_reader(file)
            # uvloop makes what it watches non-blocking: a long message would be read in part.
            os.set_blocking(file, True)
    return pipe.recv()
