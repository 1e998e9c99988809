"""Shards over workers: in any order, on any number, past workers that die."""

import dataclasses
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from functools import partial

from megatron_music.data.shards import TOGETHER, Task, encode_shard, position_of_death, try_item
from megatron_music.data.workers import WorkerDied, Workers
from megatron_music.errors import DataError
from megatron_music.progress import Progress

_UNEXPLAINED_DEATHS = 3


def encode_shards(tasks: Sequence[Task], workers: Workers, progress: Progress) -> Iterator[Task]:
    """Make all shards that are not there yet; give each once it and all before it are there.

    `progress` counts pieces. A piece that ends the process that reads it is refused and the others
    of its shard are read again; with one local worker there is no other process to end. Raises
    DataError where workers keep dying without a piece that does it again.
    """
    following = 0
    for _ in _made(tasks, workers, progress):
        while following < len(tasks) and tasks[following].path.exists():
            yield tasks[following]
            following += 1


def _made(tasks: Sequence[Task], workers: Workers, progress: Progress) -> Iterator[None]:
    """Make all shards that are not there yet; give way whenever there may be more of them."""
    for task in tasks:
        task.marker.unlink(missing_ok=True)
    broken: dict[int, set[int]] = defaultdict(set)
    unexplained = 0
    while not (yield from _finished(tasks, broken, workers, progress)):
        guilty = [(shard, p) for shard, p in _blame(tasks, workers) if p not in broken[shard]]
        for shard, position in guilty:
            broken[shard].add(position)
        unexplained = 0 if guilty else unexplained + 1
        if unexplained == _UNEXPLAINED_DEATHS:
            raise DataError(
                "worker processes keep dying, and no file does it by itself; "
                "memory may be short: use fewer --workers"
            )


def _finished(
    tasks: Sequence[Task], broken: dict[int, set[int]], workers: Workers, progress: Progress
) -> Generator[None, None, bool]:
    """Work through the shards that are missing; False if a worker died meanwhile."""
    total = sum(len(task.items) for task in tasks)
    done = sum(len(task.items) for task in tasks if task.path.exists())
    pending = [
        dataclasses.replace(task, broken=frozenset(broken[index]))
        for index, task in enumerate(tasks)
        if not task.path.exists()
    ]
    progress(done, total)
    yield
    try:
        for pieces in workers.run(encode_shard, pending):
            done += pieces
            progress(done, total)
            yield
    except WorkerDied:
        return False
    return True


def _blame(tasks: Sequence[Task], workers: Workers) -> list[tuple[int, int]]:
    """Try the pieces that were being read when a worker died; return those that do it again.

    Where many were encoded at once, the next attempt will show which of them it is.
    """
    guilty: list[tuple[int, int]] = []
    for shard, task in enumerate(tasks):
        position = position_of_death(task)
        suspects = [] if position is None or task.path.exists() else [position]
        deadly = [
            p for p in suspects if p == TOGETHER or not workers.survives(partial(try_item, task), p)
        ]
        guilty += [(shard, p) for p in deadly]
        task.marker.unlink(missing_ok=True)
    return guilty
