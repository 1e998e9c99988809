"""A build of a hundred thousand files, watched; what it means for MetaMIDI on 96 cores.

    python profiling/benchmarks/scale.py --files FOLDER [--count 100000] [--workers 2] -o OUTPUT

Makes variants of the files (none a duplicate), builds them, and writes OUTPUT/scale.{csv,png,md}.
Needs about 80 KB of disk for each file of 34 KB. With --rounds, one worker and several build in
turns, and as many builds of one worker that have nothing in common, all at once, each of its share
of the files: what the cores of the machine do for such. The curve and the estimate are of the
fastest build of several.
"""

import argparse
import csv
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bench import read_bases_of
from extrapolate import Disk, Turn, against_one, page
from machine import describe, load_average
from made_up import write_variants
from measure import Cost, measure
from touched import touched_memory

DISK_MB = 1_024
WRITTEN = 1.6
"""Shards, data set and processes, by the size of the files."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=Path, help="a folder of MIDI files; else made-up bands")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=0, help="of one worker against several")
    parser.add_argument("--every-s", type=float, default=1.0, help="seconds between two looks")
    parser.add_argument("--scratch", type=Path, help="where to make files; else as TMPDIR says")
    parser.add_argument("-o", dest="output", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        print(f"making {arguments.count:,} files in {scratch}", flush=True)
        start = time.perf_counter()
        name, bases = next(iter(read_bases_of(arguments.files and [arguments.files]).items()))
        paths = write_variants(bases, Path(scratch) / "files", arguments.count)
        size_bytes = sum(path.stat().st_size for path in paths)
        print(f"made in {time.perf_counter() - start:.0f} s; building", flush=True)
        disk = measure_disk(Path(scratch))
        bench = Bench(Path(scratch), arguments.workers, arguments.every_s, size_bytes)
        rounds = [bench.turn() for _ in range(arguments.rounds)]
        runs = [turn.several for turn in rounds] or [bench.build(arguments.workers)]
    made = min(runs, key=lambda run: run["wall_s"])
    write_csv(made, arguments.output / "scale.csv")
    draw(made, arguments.output / "scale.png")
    text = page(name, made, size_bytes, arguments.workers, disk, describe(), load_average())
    text += against_one(rounds, arguments.workers) if rounds else ""
    (arguments.output / "scale.md").write_text(text, encoding="utf-8")
    print(text)


@dataclass(frozen=True)
class Bench:
    """Builds of the files in a folder, timed."""

    scratch: Path
    workers: int
    every_s: float
    size_bytes: int

    def turn(self) -> Turn:
        """Build with one worker, with several, and with as many builds at once."""
        return Turn(self.build(1), self.build(self.workers), self.apart())

    def build(self, workers: int) -> Cost:
        """Build all with so many workers."""
        with self._memory():
            return self._timed("files", workers, tuple(range(workers)))

    def apart(self) -> list[Cost]:
        """Build the share of each worker by itself, all at once."""
        shares = range(self.workers)
        for share in shares:
            self._link(share)
        with self._memory(), ThreadPoolExecutor(self.workers) as pool:
            return list(pool.map(lambda share: self._timed(f"share-{share}", 1, (share,)), shares))

    def _link(self, share: int) -> None:
        """Give every so many-th file a second name in a folder of the share's own, once."""
        folder = self.scratch / f"share-{share}"
        if folder.exists():
            return
        for path in sorted((self.scratch / "files").rglob("*.mid"))[share :: self.workers]:
            link = folder / path.parent.name / path.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.hardlink_to(path)

    def _timed(self, files: str, workers: int, cores: tuple[int, ...]) -> Cost:
        made = self.scratch / f"{files}-set"  # what begins with a set's name is removed with it
        return measure(
            "timed_scale.py", self.scratch / files, made, workers, self.every_s, cores=cores
        )

    def _memory(self) -> AbstractContextManager[None]:
        return touched_memory(int(WRITTEN * self.size_bytes))


def measure_disk(folder: Path) -> Disk:
    """Write and read a file, past the memory where the system allows it."""
    path, block = folder / "disk", os.urandom(1 << 20)
    start = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(DISK_MB):
            file.write(block)
        os.fsync(file.fileno())
    write_s = time.perf_counter() - start
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        start = time.perf_counter()
        while file.read(1 << 20):
            pass
        read_s = time.perf_counter() - start
    path.unlink()
    return Disk(DISK_MB * 1.048576 / read_s, DISK_MB * 1.048576 / write_s)


def write_csv(made: Cost, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, made["rows"][0])
        writer.writeheader()
        writer.writerows(made["rows"])


def draw(made: Cost, path: Path) -> None:
    from matplotlib.figure import Figure

    rows = made["rows"]
    reading = [row for row in rows if row["stage"] == "read"]
    picture = Figure(figsize=(9, 6), layout="constrained")
    rate, memory = picture.subplots(2, sharex=True)
    rates = [
        (b["seconds"], (b["done"] - a["done"]) / (b["seconds"] - a["seconds"]))
        for a, b in pairwise(reading)
        if b["seconds"] > a["seconds"]
    ]
    rate.plot(*zip(*rates, strict=True), marker=".")
    rate.set_ylabel("files/s read and encoded")
    rate.set_ylim(bottom=0)
    for column, label in (
        ("all_rss_mb", "all processes"),
        ("main_rss_mb", "main process"),
        ("worker_rss_mb", "largest worker"),
    ):
        memory.plot([row["seconds"] for row in rows], [row[column] for row in rows], label=label)
    memory.set_ylabel("resident memory, MB")
    memory.set_ylim(bottom=0)
    memory.set_xlabel("seconds since the listing began")
    memory.legend()
    picture.savefig(path, dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    main()
