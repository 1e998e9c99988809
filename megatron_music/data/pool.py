"""Shards over worker processes: in any order, on any number, past workers that die."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from megatron_music.data.shards import Task, encode_shard, position_of_death, try_item
from megatron_music.errors import DataError
from megatron_music.progress import Progress

_UNEXPLAINED_DEATHS = 3


def encode_shards(tasks: Sequence[Task], workers: int, progress: Progress) -> None:
    """Make all shards that are not there yet; `progress` counts pieces.

    A piece that ends the process that reads it is refused and the others of its shard are read
    again; with one worker there is no other process to end. Raises DataError where workers keep
    dying without a piece that does it again.
    """
    for task in tasks:
        task.marker.unlink(missing_ok=True)
    broken: dict[int, set[int]] = defaultdict(set)
    unexplained = 0
    while not _finished(tasks, broken, workers, progress):
        guilty = _blame(tasks)
        for shard, position in guilty:
            broken[shard].add(position)
        unexplained = 0 if guilty else unexplained + 1
        if unexplained == _UNEXPLAINED_DEATHS:
            raise DataError(
                "worker processes keep dying, and no file does it by itself; "
                "memory may be short: use fewer --workers"
            )


def _finished(
    tasks: Sequence[Task], broken: dict[int, set[int]], workers: int, progress: Progress
) -> bool:
    """Work through the shards that are missing; False if a worker died meanwhile."""
    total = sum(len(task.items) for task in tasks)
    done = sum(len(task.items) for task in tasks if task.path.exists())
    pending = [
        dataclasses.replace(task, broken=frozenset(broken[index]))
        for index, task in enumerate(tasks)
        if not task.path.exists()
    ]
    progress(done, total)
    try:
        for pieces in _parallel(pending, min(workers, len(pending))):
            done += pieces
            progress(done, total)
    except BrokenProcessPool:
        return False
    return True


def _parallel(tasks: Sequence[Task], workers: int) -> Iterator[int]:
    if workers <= 1:
        yield from map(encode_shard, tasks)
        return
    from joblib import Parallel, delayed

    # Ray or Dask take over by joblib's own `parallel_config(backend=...)`.
    run: Any = Parallel(workers, return_as="generator_unordered", batch_size=1)
    yield from run(delayed(encode_shard)(task) for task in tasks)


def _blame(tasks: Sequence[Task]) -> list[tuple[int, int]]:
    """Try the pieces that were being read when a worker died; return those that do it again."""
    guilty = []
    for shard, task in enumerate(tasks):
        position = position_of_death(task)
        if position is not None and not task.path.exists() and _is_deadly(task, position):
            guilty.append((shard, position))
        task.marker.unlink(missing_ok=True)
    return guilty


def _is_deadly(task: Task, position: int) -> bool:
    from joblib import Parallel, delayed

    try:
        Parallel(2)([delayed(try_item)(task, position)])
    except BrokenProcessPool:
        return True
    return False
