"""A build watched from within: `python timed_scale.py FOLDER DATASET WORKERS SECONDS`.

Every so many seconds: how far it is, and the memory, CPU time and bytes of all its processes.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil

from megatron_music.data.build import build
from megatron_music.data.settings import BuildSettings
from megatron_music.data.sources import folder_source
from megatron_music.data.workers import start_workers
from megatron_music.progress import Progress


class Watch:
    """Notes what the processes of a build are at, in a thread of its own."""

    def __init__(self, every_s: float) -> None:
        self.rows: list[dict[str, float | str]] = []
        self.stage, self.done = "list", 0
        self._every_s = every_s
        self._start = time.perf_counter()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.note()

    @contextmanager
    def opened(self, title: str, unit: str) -> Iterator[Progress]:  # noqa: ARG002
        """Open a step of the build, as `build` asks for it."""
        self.note()
        self.stage, self.done = title.partition(" ")[0], 0

        def progress(done: int, total: int, note: str = "") -> None:  # noqa: ARG001
            self.done = done

        yield progress
        self.note()

    def note(self) -> None:
        """Add a row of what is going on now."""
        main = psutil.Process()
        processes = [main, *main.children(recursive=True)]
        seen = [figures for process in processes if (figures := _figures(process))]
        workers = seen[1:]
        self.rows.append(
            {
                "seconds": round(time.perf_counter() - self._start, 2),
                "stage": self.stage,
                "done": self.done,
                "main_rss_mb": round(seen[0]["rss"] / 1e6, 1),
                "worker_rss_mb": round(max((w["rss"] for w in workers), default=0) / 1e6, 1),
                "all_rss_mb": round(sum(one["rss"] for one in seen) / 1e6, 1),
                "main_cpu_s": round(seen[0]["cpu"], 2),
                "workers_cpu_s": round(sum(w["cpu"] for w in workers), 2),
                "asked_to_read_mb": round(sum(one["read"] for one in seen) / 1e6, 1),
                "asked_to_write_mb": round(sum(one["written"] for one in seen) / 1e6, 1),
            }
        )

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            self.note()


def _figures(process: psutil.Process) -> dict[str, float]:
    try:
        io, cpu = process.io_counters(), process.cpu_times()
        return {
            "rss": process.memory_info().rss,
            "cpu": cpu.user + cpu.system,
            "read": io.read_chars,
            "written": io.write_chars,
        }
    except psutil.Error:  # it has just ended
        return {}


def main() -> None:
    folder, data_set, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    start = time.perf_counter()
    with Watch(float(sys.argv[4])) as watch:
        result = build(
            folder_source(folder, partial(start_workers, "local", workers)),
            data_set,
            BuildSettings(),
            workers,
            stage=watch.opened,
        )
    manifest = result.manifest
    print(
        json.dumps(
            {
                "wall_s": time.perf_counter() - start,
                "inputs": manifest["inputs"],
                "tokens": sum(side["tokens"] for side in manifest["splits"].values()),
                "rows": watch.rows,
            }
        )
    )


if __name__ == "__main__":
    main()
