"""A piece may take so much memory and so much time, and a worker does not outlive its parent."""

import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from megatron_music.data.settings import BuildSettings
from megatron_music.data.shards.make import Task, encode_shards
from megatron_music.data.shards.shard_file import read_shard
from megatron_music.data.workers.limits import memory_limit, time_limit
from megatron_music.data.workers.local import LocalWorkers
from megatron_music.progress import silent
from megatron_music.score.notes import Score
from tests.code import run_code
from tests.data.collection import as_score, song

MB = 1 << 20


@dataclass(frozen=True)
class Hungry:
    """A made-up piece that takes memory while it is read."""

    name: str
    seed: int
    taken_bytes: int = 0

    def read(self) -> Score:
        """Return the piece, after holding that much memory."""
        held = np.zeros(self.taken_bytes, np.uint8)
        return as_score(song(self.seed + int(held[:1].sum())))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_piece_that_takes_too_much_memory_costs_that_piece_alone(
    tmp_path: Path, workers: int
) -> None:
    # More than a process that has trained keeps of its freed memory.
    items = [Hungry(f"piece-{i}", i, 4_000 * MB if i in {1, 4} else 50 * MB) for i in range(6)]
    tasks = [
        Task(tmp_path / f"{i}.npz", items[i : i + 3], BuildSettings(), most_item_bytes=200 * MB)
        for i in (0, 3)
    ]
    list(encode_shards(tasks, LocalWorkers(workers), silent))
    refused = [dict(read_shard(task.path).refused) for task in tasks]
    assert refused == [{"memory": 1}, {"memory": 1}]
    lines = [line for task in tasks for line in read_shard(task.path).lines.splitlines()]
    assert [b'"memory"' in line for line in lines] == [False, True, False, False, True, False]
    assert b"took over 200 MB of memory" in lines[1]


TAKES = """
import resource
import numpy as np
from megatron_music.data.workers.limits import memory_limit
MB = 1 << 20
before = resource.getrlimit(resource.RLIMIT_DATA)
with memory_limit(100 * MB):
    np.ones(50 * MB, np.uint8)
    try:
        np.ones(150 * MB, np.uint8)
    except MemoryError:
        print("refused")
np.ones(150 * MB, np.uint8)
print(resource.getrlimit(resource.RLIMIT_DATA) == before)
"""


def test_memory_beyond_the_limit_cannot_be_had_and_later_can() -> None:
    # A process of its own: one that has trained keeps freed memory, which it need not ask for.
    assert run_code(TAKES).stdout.split() == ["refused", "True"]


def test_a_stricter_limit_of_the_users_own_stays() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    try:
        with memory_limit(100 * MB):
            inner = resource.getrlimit(resource.RLIMIT_DATA)[0]
            with memory_limit(500 * MB):
                assert resource.getrlimit(resource.RLIMIT_DATA)[0] == inner
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def test_limits_do_not_end_the_main_process() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with time_limit(0.01):
        time.sleep(0.05)
        assert signal.getsignal(signal.SIGALRM) == before


BUILD = """
import sys
from pathlib import Path
from megatron_music.data.build import build
from tests.code import run_code
from tests.data.collection import Song, source_of
items = [Song(f"song-{i}", i, log=Path(sys.argv[1]), endless=True) for i in range(8)]
build(source_of(items), Path(sys.argv[2]), workers=2)
"""


@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", BUILD, str(log), str(tmp_path / "set")]
    with subprocess.Popen(command, cwd=Path(__file__).parents[3]) as started:
        deadline = time.monotonic() + 120
        while not log.exists() or len(log.read_text().split()) < 2:
            assert started.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        workers = psutil.Process(started.pid).children(recursive=True)
        assert len(workers) >= 2
        started.kill()
    _, alive = psutil.wait_procs(workers, timeout=10)
    for process in alive:
        process.kill()
    assert alive == []
