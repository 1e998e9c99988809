"""Shards over processes: a piece that ends its process costs that piece alone."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from megatron_music.data.settings import BuildSettings
from megatron_music.data.shards.make import Task, encode_shards
from megatron_music.data.shards.shard_file import read_shard
from megatron_music.data.sources.open import folder_source
from megatron_music.data.workers.limits import WorkerDied
from megatron_music.data.workers.local import LocalWorkers
from megatron_music.errors import DataError
from megatron_music.progress import silent
from tests.data.collection import DeadlyFile, folder_of_songs, songs


def tasks_of(items: Sequence[Any], folder: Path) -> list[Task]:
    return [
        Task(folder / f"shard-{start:03d}", items[start : start + 4], BuildSettings())
        for start in range(0, len(items), 4)
    ]


def lines_of(tasks: list[Task]) -> list[dict[str, Any]]:
    return [json.loads(line) for task in tasks for line in read_shard(task.path).lines.splitlines()]


@pytest.mark.slow
def test_a_file_that_kills_its_worker_while_many_are_read_costs_itself_alone(
    tmp_path: Path,
) -> None:
    items: list[Any] = list(folder_source(folder_of_songs(tmp_path / "music", 12)).items)
    items[6] = DeadlyFile(str(tmp_path / "music/song-06.mid"), "song-06.mid")
    tasks = tasks_of(items, tmp_path)
    list(encode_shards(tasks, LocalWorkers(2), silent))
    reasons = {line["name"]: line["reason"] for line in lines_of(tasks)}
    assert reasons.pop("song-06.mid") == "crashed"
    assert len(reasons) == 11
    assert not any(reasons.values())


@pytest.mark.slow
def test_a_piece_that_never_ends_costs_that_piece_alone(tmp_path: Path) -> None:
    items = songs(8)
    items[6] = dataclasses.replace(items[6], endless=True)
    tasks = [dataclasses.replace(t, longest_item_s=3.0) for t in tasks_of(items, tmp_path)]
    list(encode_shards(tasks, LocalWorkers(2), silent))
    reasons = [outcome["reason"] for outcome in lines_of(tasks)]
    assert reasons == [None, None, None, None, None, None, "crashed", None]


def test_shards_that_are_there_are_not_made_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    tasks = tasks_of(songs(8, log), tmp_path)
    list(encode_shards(tasks[:1], LocalWorkers(1), silent))
    list(encode_shards(tasks, LocalWorkers(1), silent))
    assert log.read_text().split() == [f"song-{number:03d}" for number in range(8)]


def test_progress_counts_pieces_and_begins_with_those_done_before(tmp_path: Path) -> None:
    tasks = tasks_of(songs(10), tmp_path)
    list(encode_shards(tasks[:1], LocalWorkers(1), silent))
    seen: list[tuple[int, int]] = []

    def progress(done: int, total: int, note: str = "") -> None:  # noqa: ARG001
        seen.append((done, total))

    list(encode_shards(tasks, LocalWorkers(1), progress))
    assert seen == [(4, 10), (8, 10), (10, 10)]


class Backwards(LocalWorkers):
    """Finish the last first; `made` is how many are finished."""

    made = 0

    def run(self, work: Any, arguments: Sequence[Any]) -> Iterator[Any]:
        for argument in reversed(arguments):
            done = work(argument)
            self.made += 1
            yield done


def test_shards_are_given_in_order_once_all_before_them_are_there(tmp_path: Path) -> None:
    tasks, workers = tasks_of(songs(16), tmp_path), Backwards(1)
    list(encode_shards(tasks[:2], LocalWorkers(1), silent))
    given = [(task, workers.made) for task in encode_shards(tasks, workers, silent)]
    assert given == [(tasks[0], 0), (tasks[1], 0), (tasks[2], 2), (tasks[3], 2)]


class Doomed(LocalWorkers):
    """Die of every call."""

    def run(self, work: Any, arguments: Any) -> Iterator[Any]:  # noqa: ARG002
        raise WorkerDied


def test_workers_that_keep_dying_for_no_file_end_the_build(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="keep dying"):
        list(encode_shards(tasks_of(songs(4), tmp_path), Doomed(2), silent))
