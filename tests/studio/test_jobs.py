"""The line of jobs: in order, people first, and a process that dies costs one job."""

import asyncio
import threading
from collections.abc import Callable
from multiprocessing import Pipe, active_children
from pathlib import Path
from typing import Any

import pytest
import uvloop

from megatron_music.studio import jobs
from megatron_music.studio.jobs import (
    Job,
    JobFailedError,
    JobQueue,
    Priority,
    QueueFullError,
    State,
    receive,
)


def song(number: int, bars: int = 2) -> dict[str, object]:
    return {"task": "song", "model": "choir", "numbers": [number], "bars": bars}


async def until_running(job: Job) -> None:
    async for event in job.follow():
        if event["event"] in ("running", "bar"):
            return


@pytest.mark.slow
def test_a_line_of_jobs(model: Path) -> None:
    """One process for all of it: it takes seconds to start."""

    async def walk() -> None:
        line = JobQueue("test", {"choir": str(model)})
        line.begin()
        await it_composes_in_order_and_tells_each_bar(line)
        await a_person_comes_before_the_pool(line)
        await a_job_is_given_up_while_it_waits_and_while_it_runs(line)
        await a_fault_of_the_request_is_told(line)
        await a_process_that_dies_costs_its_job_alone(line)
        await line.close()

    asyncio.run(walk())


async def it_composes_in_order_and_tells_each_bar(line: JobQueue) -> None:
    first, second = line.put(song(1)), line.put(song(2))
    assert line.place(second)[0] >= 1
    made = await second.wait()
    assert first.state is State.DONE
    assert made[0]["number"] == 2
    assert made[0]["midi"].startswith(b"MThd")
    bars = [event for event in first.events if event["event"] == "bar"]
    assert {(bar["track"], bar["bar"]) for bar in bars} == {
        (track, bar) for track in range(4) for bar in (1, 2)
    }
    assert (await line.put(song(1)).wait())[0]["midi"] == first.result[0]["midi"]


async def a_person_comes_before_the_pool(line: JobQueue) -> None:
    pool = [line.put(song(number, bars=4), Priority.POOL) for number in (3, 4)]
    await until_running(pool[0])
    person = line.put(song(5))
    await person.wait()
    assert not any(job.is_over for job in pool)
    for job in pool:
        await job.wait()


async def a_job_is_given_up_while_it_waits_and_while_it_runs(line: JobQueue) -> None:
    running, waiting = line.put(song(6, bars=64)), line.put(song(7))
    await until_running(running)
    line.cancel(waiting)
    line.cancel(running)
    for job in (running, waiting):
        with pytest.raises(JobFailedError):
            await job.wait()
        assert job.state is State.CANCELLED


async def a_fault_of_the_request_is_told(line: JobQueue) -> None:
    asked = {"task": "compose", "model": "choir", "wishes": {"bars": 0}, "midi": None}
    with pytest.raises(JobFailedError, match="bars"):
        await line.put(asked).wait()


async def a_process_that_dies_costs_its_job_alone(line: JobQueue) -> None:
    dying, next_one = line.put(song(8, bars=64)), line.put(song(9))
    await until_running(dying)
    (process,) = (one for one in active_children() if one.name == "studio-test")
    process.kill()
    with pytest.raises(JobFailedError, match="died"):
        await dying.wait()
    assert (await next_one.wait())[0]["number"] == 9


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_result_longer_than_a_pipe_holds_arrives_whole(run: Callable[..., Any]) -> None:
    sent = bytes(16 << 20)

    async def received() -> Any:
        ours, theirs = Pipe()
        sender = threading.Timer(0.1, theirs.send, [sent])
        sender.start()
        try:
            return await receive(ours)
        finally:
            ours.close()
            sender.join()

    assert run(received()) == sent


def test_a_line_that_is_full_takes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MOST_WAITING", 2)
    line = JobQueue("test", {})
    kept = [line.put(song(number)) for number in (1, 2)]
    with pytest.raises(QueueFullError):
        line.put(song(3))
    assert [line.place(job)[0] for job in kept] == [0, 1]


def test_events_that_come_while_a_reader_is_busy_are_read_too() -> None:
    async def read() -> list[str]:
        job, seen = Job({}, Priority.PERSON), []
        job.publish({"event": "first"})
        async for event in job.follow():
            seen.append(event["event"])
            if event["event"] == "first":
                job.publish({"event": "second"})
                job.end(State.DONE)
        return seen

    assert asyncio.run(read()) == ["first", "second", "done"]
