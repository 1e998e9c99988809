"""Measurements of collections as a page of Markdown."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from machine import Machine, noise
from measure import Cost


@dataclass
class Collection:
    """What was measured on the files of one collection."""

    name: str
    bases: int
    load: Cost
    build: Cost
    program: Cost
    peers: dict[str, Cost]
    by_workers: dict[int, Cost] = field(default_factory=dict)
    by_size: list[Cost] = field(default_factory=list)


HEAD = """\
# Building data sets: one run, the same files

{machine}. Load average over the run's end: {load:.1f}{noisy}.

    python profiling/benchmarks/bench.py {arguments}

Rates are files a second of CPU time on one core, the best of the repetitions; those by the clock
on the wall say so. symusic only loads bytes that are in memory already. *The whole build* lists,
reads, encodes, finds duplicates, writes and hashes a finished data set; *as a command* adds
starting Python and loading the compiled kernels. The peers get a subset, spread evenly over the
files: their rates are of that. MidiTok's tokens are not cut into windows, which would cost it more.
Memory is the largest resident set that a process ever had.
"""


def markdown(
    collections: Iterable[Collection], machine: Machine, load: float, arguments: list[str]
) -> str:
    words = " ".join(arguments)
    head = HEAD.format(machine=machine.text, load=load, noisy=noise(load), arguments=words)
    return "\n".join([head, *(_section(one) for one in collections)])


def _section(one: Collection) -> str:
    files = one.load["files"]
    kilobytes = one.load["bytes"] / files / 1e3
    tokens = one.build["tokens"] / one.build["kept"]
    many = one.by_workers[1]
    million = many["tokens"] / 1e6
    parts = [
        f"## {one.name}",
        f"{files:,} variants of {one.bases} pieces, {kilobytes:.1f} kB each; "
        f"{tokens:,.0f} tokens a piece that was kept ({one.build['kept'] / files:.0%} were).",
        table(
            ("", "files timed", "files/s, one core", "of bare loading", "the whole build is"),
            _rates(one),
        ),
        table(("workers", "files", "wall s", "files/s by the wall", "speed-up"), _speed_up(one)),
        table(
            ("files built by two workers", "largest worker, MB", "main process, MB"), _memory(one)
        ),
        f"`data verify`, hashes and grammar, one process: {million:,.1f} M tokens at "
        f"{million / many['verify_s']:,.1f} M tokens/s.",
    ]
    return "\n\n".join(parts) + "\n"


def _rates(one: Collection) -> Iterable[tuple[object, ...]]:
    bare, ours = _rate(one.load), _rate(one.build)
    rows = {
        "symusic, bare loading": one.load,
        "**the whole build**": one.build,
        "the whole build, as a command": one.program,
        **one.peers,
    }
    for name, cost in rows.items():
        if "missing" in cost:
            yield name, cost["missing"], "", "", ""
            continue
        rate = _rate(cost)
        share = f"{rate / bare:.2f}" if rate / bare > 0.01 else f"{rate / bare:.4f}"
        faster = f"{ours / rate:,.0f} times as fast" if name in one.peers else ""
        yield name, f"{cost['files']:,}", f"{rate:,.0f}", share, faster


def _rate(cost: Cost) -> float:
    return float(cost["files"] / cost["cpu_s"])


def _speed_up(one: Collection) -> Iterable[tuple[object, ...]]:
    alone_s = one.by_workers[1]["wall_s"]
    for workers, cost in one.by_workers.items():
        rate = cost["files"] / cost["wall_s"]
        faster = f"{alone_s / cost['wall_s']:.2f}"
        yield workers, f"{cost['files']:,}", f"{cost['wall_s']:.2f}", f"{rate:,.0f}", faster


def _memory(one: Collection) -> Iterable[tuple[object, ...]]:
    for cost in one.by_size:
        worker, main = (cost[name] / 1e6 for name in ("worker_peak_bytes", "peak_bytes"))
        yield f"{cost['files']:,}", f"{worker:.0f}", f"{main:.0f}"


def table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
