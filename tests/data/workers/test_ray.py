"""A real Ray cluster, started on this machine, makes the same bytes as local workers."""

import dataclasses
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

from megatron_music.data.build import build
from megatron_music.data.settings import BuildSettings
from megatron_music.data.shards.make import Task, encode_shards
from megatron_music.data.shards.shard_file import read_shard
from megatron_music.data.workers.local import open_workers
from megatron_music.errors import DataError, MissingError, UsageError, WriteError
from megatron_music.progress import silent
from tests.data.collection import files_of, songs, source_of

ROOT = Path(__file__).parents[3]
RAY = "Ray is not installed: pip install -e '.[ray]' to run the builds on a cluster"


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Start a cluster of two cores, and end it; Ray gives up early where the machine is busy."""
    ray = pytest.importorskip("ray", reason=RAY)
    for patience in (2, 1, 0):
        try:
            start(ray)
            break
        except Exception:
            ray.shutdown()
            if not patience:
                raise
    yield
    ray.shutdown()


def start(ray: ModuleType) -> None:
    ray.init(
        "local",  # whatever else runs on this machine, or did
        num_cpus=2,
        log_to_driver=False,
        logging_level="error",
        include_dashboard=False,
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
    )


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_cluster_makes_the_same_bytes_as_local_workers(tmp_path: Path) -> None:
    settings = BuildSettings(split=(50, 25, 25))
    build(source_of(songs(12)), tmp_path / "ray", settings, None, backend="ray")
    build(source_of(songs(12)), tmp_path / "local", settings, 1)
    assert files_of(tmp_path / "ray") == files_of(tmp_path / "local")


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_piece_that_kills_or_holds_a_worker_of_a_cluster_costs_that_piece_alone(
    tmp_path: Path,
) -> None:
    items = songs(9)
    items[4] = dataclasses.replace(items[4], deadly=True)
    items[7] = dataclasses.replace(items[7], endless=True)
    tasks = [
        Task(tmp_path / str(start), items[start : start + 3], BuildSettings(), longest_item_s=3.0)
        for start in (0, 3, 6)
    ]
    list(encode_shards(tasks, open_workers("ray", 2), silent))
    refused = [dict(read_shard(task.path).refused) for task in tasks]
    assert refused == [{}, {"crashed": 1}, {"crashed": 1}]


def fails(_: int) -> int:
    raise WriteError("no room")


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_an_error_comes_back_as_it_was() -> None:
    with pytest.raises(WriteError, match=r"^no room$"):
        list(open_workers("ray", 2).run(fails, [1, 2, 3]))


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_every_argument_is_worked_on_once_however_many_there_are() -> None:
    assert sorted(open_workers("ray", 2).run(abs, range(-20, 0))) == list(range(1, 21))
    assert list(open_workers("ray", 2).run(abs, [])) == []


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_one_worker_is_one_at_a_time() -> None:
    spans = sorted(open_workers("ray", 1).run(busy, [0.1, 0.1, 0.1]))
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))


def busy(seconds: float) -> tuple[float, float]:
    begin = time.time()
    time.sleep(seconds)
    return begin, time.time()


def test_a_cluster_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason=RAY)

    def unreachable(**_: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", unreachable)
    monkeypatch.setenv("RAY_ADDRESS", "far:6379")
    with pytest.raises(DataError, match="no Ray cluster answers at far:6379; start one"):
        list(open_workers("ray", 2).run(abs, [1]))


def test_a_missing_or_unknown_backend_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("megatron_music.data.workers.ray.find_spec", lambda _: None)
    with pytest.raises(MissingError, match=r"pip install 'megatron-music\[ray\]'"):
        open_workers("ray", 2)
    with pytest.raises(UsageError, match="no backend 'dask'; there are local and ray"):
        open_workers("dask", 2)
    with pytest.raises(UsageError, match=r"workers must be 1 or more \(got 0\)"):
        open_workers("local", 0)
