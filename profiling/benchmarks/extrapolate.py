"""From a build that was watched to what a larger one would take: a formula, not a measurement."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from machine import Machine
from measure import Cost
from tables import table

META_MIDI_FILES = 436_631
META_MIDI_CORES = 96
DISKS_MB_S = (200, 1_000, 3_000)
"""A network share, a good SATA or cloud disk, one NVMe."""


@dataclass(frozen=True)
class Disk:
    """What a disk was seen to read and write, MB/s, a large file one block after another."""

    read_mb_s: float
    write_mb_s: float


PAGE = """\
# {count:,} files with {workers} workers

{machine}. Load average {load:.1f}{noisy}. Files: variants of `{name}`, {kilobytes:.1f} kB each.

The whole build took {wall_s:.0f} s: {rate:,.0f} files/s, {tokens:,.0f} M tokens,
{token_rate:.1f} M tokens/s. {kept:,} were kept; left out: {refused}.

| stage | s | what |
| --- | --- | --- |
{stages}

The largest worker held {worker_mb:.0f} MB at most, the main process {main_mb:.0f} MB, all together
{all_mb:.0f} MB. Between the first and the last third of the reading, the largest worker went from
{first_mb:.0f} to {last_mb:.0f} MB and the rate from {first_rate:,.0f} to {last_rate:,.0f} files/s.

![files a second and memory over time](scale.png)

## What MetaMIDI would take: an estimate, not a measurement

For N = {meta:,} files like these on {cores} cores, by what was measured here for each file:

- workers: c = {worker_ms:.3f} ms of CPU time, on all cores: N c / {cores} = {workers_s:.0f} s
- main process, which is not shared: m = {main_ms:.3f} ms: N m = {main_s:.0f} s
- disk: b = {asked_kb:.1f} kB asked for in all ({read_kb:.1f} read, {written_kb:.1f} written; the
  files themselves are {kilobytes:.1f}): N b = {total_gb:.0f} GB, at a disk's rate d

T = max(N c / {cores}, N b / d) + N m:

| disk, MB/s | from and to the disk, s | T, s | what limits |
| --- | --- | --- | --- |
{disks}

The formula supposes that cores do not get in each other's way at the memory, that listing and
opening many small files costs no more than reading them in order, and that nothing of what is
written and read again stays in memory; where memory holds it, only the files themselves are read.
This machine's disk was seen to read {disk.read_mb_s:,.0f} and to write {disk.write_mb_s:,.0f} MB/s
(one large file). The article's preprocessing took up to 30 h on 96 cores.
"""


AGAINST_ONE = """
## {workers} workers against one

In turns, on as many cores as there are workers, in memory that had been written to before (see
`touched.py`); the start of the processes is in it. "Apart" are {workers} builds of one worker that
have nothing in common, at once, each of its share of the files: what these cores do for such.

{rows}
"""


class Turn(NamedTuple):
    """Builds of the same files: by one worker, by several, and by as many builds at once."""

    one: Cost
    several: Cost
    apart: list[Cost]

    def walls_s(self) -> tuple[float, float, float]:
        """Return how long each took; those at once are as long as the longest."""
        apart_s = max(cost["wall_s"] for cost in self.apart)
        return self.one["wall_s"], self.several["wall_s"], apart_s


def page(
    name: str,
    made: Cost,
    size_bytes: int,
    workers: int,
    disk: Disk,
    machine: Machine,
    load: float,
) -> str:
    count = made["inputs"]["total"]
    rows = made["rows"]
    last = rows[-1]
    reading = [row for row in rows if row["stage"] == "read"]
    moving = [row for row in reading if 0 < row["done"] < count] or reading
    third = max(2, len(moving) // 3)
    first, final = moving[:third], moving[-third:]
    peak = {
        key: max(row[key] for row in rows) for key in ("worker_rss_mb", "main_rss_mb", "all_rss_mb")
    }
    workers_cpu_s = max(row["workers_cpu_s"] for row in rows)
    read_mb, written_mb = (
        max(row[key] for row in rows) for key in ("asked_to_read_mb", "asked_to_write_mb")
    )
    scale = META_MIDI_FILES / count
    workers_s = workers_cpu_s * scale / META_MIDI_CORES
    main_s = last["main_cpu_s"] * scale
    total_mb = (read_mb + written_mb) * scale
    return PAGE.format(
        count=count,
        workers=workers,
        machine=machine.text,
        load=load,
        noisy=", a shared machine" if load > workers + 0.7 else "",
        name=name,
        kilobytes=size_bytes / count / 1e3,
        wall_s=made["wall_s"],
        rate=count / made["wall_s"],
        tokens=made["tokens"] / 1e6,
        token_rate=made["tokens"] / made["wall_s"] / 1e6,
        kept=made["inputs"]["kept"],
        refused=", ".join(f"{why} {n:,}" for why, n in made["inputs"]["refused"].items()) or "none",
        stages=_stages(rows),
        worker_mb=peak["worker_rss_mb"],
        main_mb=peak["main_rss_mb"],
        all_mb=peak["all_rss_mb"],
        first_mb=max(row["worker_rss_mb"] for row in first),
        last_mb=max(row["worker_rss_mb"] for row in final),
        first_rate=_rate(first),
        last_rate=_rate(final),
        meta=META_MIDI_FILES,
        cores=META_MIDI_CORES,
        worker_ms=1e3 * workers_cpu_s / count,
        main_ms=1e3 * last["main_cpu_s"] / count,
        workers_s=workers_s,
        main_s=main_s,
        asked_kb=1e3 * (read_mb + written_mb) / count,
        read_kb=1e3 * read_mb / count,
        written_kb=1e3 * written_mb / count,
        total_gb=total_mb / 1e3,
        disks="\n".join(_disk_row(rate, total_mb, workers_s, main_s) for rate in DISKS_MB_S),
        disk=disk,
    )


def _rate(rows: list[Cost]) -> float:
    first, last = rows[0], rows[-1]
    return float((last["done"] - first["done"]) / max(last["seconds"] - first["seconds"], 1e-9))


def _stages(rows: list[Cost]) -> str:
    about = {"list": "list the folder", "read": "read, encode", "write": "join, write, hash"}
    ends = {row["stage"]: row["seconds"] for row in rows}
    starts = [0.0, *list(ends.values())[:-1]]
    return "\n".join(
        f"| {stage} | {end - start:.1f} | {about.get(stage, '')} |"
        for (stage, end), start in zip(ends.items(), starts, strict=True)
    )


def against_one(rounds: Sequence[Turn], workers: int) -> str:
    """Return the section on one worker against several, round by round."""
    walls_s = [turn.walls_s() for turn in rounds]
    fastest = [min(column) for column in zip(*walls_s, strict=True)]
    rows = [
        (name, *(f"{wall_s:.2f}" for wall_s in row), *(f"{times:.2f}" for times in _faster(*row)))
        for name, row in [*enumerate(walls_s, 1), ("the fastest", fastest)]
    ]
    middle = [median(column) for column in zip(*(_faster(*row) for row in walls_s), strict=True)]
    rows.append(("the median", "", "", "", *(f"{times:.2f}" for times in middle)))
    titles = ("round", "one, s", f"{workers}, s", "apart, s", f"{workers}: times as fast", "apart")
    return AGAINST_ONE.format(workers=workers, rows=table(titles, rows))


def _faster(one_s: float, several_s: float, apart_s: float) -> tuple[float, float]:
    return one_s / several_s, one_s / apart_s


def _disk_row(rate_mb_s: int, total_mb: float, workers_s: float, main_s: float) -> str:
    disk_s = total_mb / rate_mb_s
    limits = "the disk" if disk_s > workers_s else "the cores"
    if main_s > max(disk_s, workers_s):
        limits = "the main process"
    return f"| {rate_mb_s:,} | {disk_s:.0f} | {max(disk_s, workers_s) + main_s:.0f} | {limits} |"
