"""A build of a hundred thousand files, watched; what it means for MetaMIDI on 96 cores.

    python profiling/benchmarks/scale.py --files FOLDER [--count 100000] [--workers 2] -o OUTPUT

Makes variants of the files (none a duplicate), builds them, and writes OUTPUT/scale.{csv,png,md}.
Needs about 80 KB of disk for each file of 34 KB. With --rounds, one worker and several build in
turns; the curve and the estimate are of the fastest build of several.
"""

import argparse
import csv
import os
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from bench import read_bases_of
from extrapolate import Disk, against_one, page
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
        [(name, bases)] = read_bases_of([arguments.files] if arguments.files else None).items()
        paths = write_variants(bases, Path(scratch) / "files", arguments.count)
        size_bytes = sum(path.stat().st_size for path in paths)
        print(f"made in {time.perf_counter() - start:.0f} s; building", flush=True)
        disk = measure_disk(Path(scratch))
        turns = [1, arguments.workers] * arguments.rounds or [arguments.workers]
        runs = [(n, build(Path(scratch), n, arguments.every_s, size_bytes)) for n in turns]
    made = min((run for n, run in runs if n == arguments.workers), key=lambda run: run["wall_s"])
    write_csv(made, arguments.output / "scale.csv")
    draw(made, arguments.output / "scale.png")
    text = page(name, made, size_bytes, arguments.workers, disk, describe(), load_average())
    text += against_one(runs) if arguments.rounds else ""
    (arguments.output / "scale.md").write_text(text, encoding="utf-8")
    print(text)


def build(scratch: Path, workers: int, every_s: float, size_bytes: int) -> Cost:
    with touched_memory(int(WRITTEN * size_bytes)):
        return measure(
            "timed_scale.py",
            scratch / "files",
            scratch / "set",
            workers,
            every_s,
            cores=tuple(range(workers)),
        )


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
