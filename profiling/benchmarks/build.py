"""Building data sets beside its peers, in one run on the same files: `make bench-data`.

    python profiling/benchmarks/build.py [--files FOLDER]... [--count 2400] [--write]

Without --files, music is made up: bands (multi-track) and choirs (chorales). Each folder given is a
collection of its own. Files are varied, so that none is a duplicate, until there are --count.
"""

import argparse
import datetime as dt
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from harness import Cost, Machine, attempt, describe, load_average, noise
from made_up import bands, choirs, read_bases, write_variants
from rich.console import Console

from megatron_music.wording import markdown_table

RESULTS = Path(__file__).resolve().parents[1] / "results"
MEMORY_SHARES = (0.1, 0.3, 1.0)
MOST_FILES = 60_000


@dataclass
class Collection:
    """What was measured on the files of one collection."""

    name: str
    bases: int
    load: Cost
    build: Cost
    pieces: Cost
    program: Cost
    peers: dict[str, Cost]
    by_workers: dict[int, Cost] = field(default_factory=dict)
    by_size: list[Cost] = field(default_factory=list)


HEAD = """\
# Building data sets: one run, the same files

{machine}. Load average over the run's end: {load:.1f}{noisy}.

    python profiling/benchmarks/build.py {arguments}

Rates are files a second of CPU time on one core, the best of the repetitions; those by the clock
on the wall say so. symusic only loads bytes that are in memory already. *The whole build* lists,
reads, encodes, finds duplicates, writes and hashes a finished data set; *as a command* adds
starting Python and loading the compiled kernels. The peers get a subset, spread evenly over the
files: their rates are of that. MidiTok's tokens are not cut into windows, which would cost it more.
Memory is the largest resident set that a process ever had.
"""


def main() -> None:
    arguments = _arguments()
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        found = [
            _collection(name, bases, Path(scratch) / name, arguments, console)
            for name, bases in read_bases_of(arguments.files).items()
        ]
    page = markdown(found, describe(), load_average(), sys.argv[1:])
    print(page)
    if arguments.write:
        device = describe().device
        path = RESULTS / f"{dt.date.today():%Y-%m-%d}_{device}_data.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(page, encoding="utf-8")
        console.print(f"written to {path}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=Path, action="append", help="a folder of MIDI files")
    parser.add_argument("--count", type=int, default=2_400, help="files of each collection")
    parser.add_argument("--many-mb", type=float, default=400, help="files for workers and memory")
    parser.add_argument("--repeat", type=int, default=5, help="the best of so many runs counts")
    parser.add_argument("--peer-s", type=float, default=20, help="seconds that each peer gets")
    parser.add_argument("--core", type=int, default=0, help="the core that one core means")
    parser.add_argument("--scratch", type=Path, help="where to make files; else as TMPDIR says")
    parser.add_argument("--write", action="store_true", help=f"write the result into {RESULTS}")
    return parser.parse_args()


def read_bases_of(folders: list[Path] | None) -> dict[str, list]:
    if not folders:
        return {"bands": bands(), "choirs": choirs()}
    found = {folder.resolve().name: read_bases(folder) for folder in folders}
    empty = [name for name, bases in found.items() if not bases]
    if empty:
        sys.exit(f"error: no MIDI file that can be read in {', '.join(empty)}")
    return found


def _collection(
    name: str, bases: list, folder: Path, arguments: argparse.Namespace, console: Console
) -> Collection:
    """Make the files of a collection and measure everything on them."""

    def timed(what: str, *rest: object, cores: tuple[int, ...] = (arguments.core,)) -> Cost:
        console.print(f"{name}: {what} {' '.join(map(str, rest[1:]))}", highlight=False)
        try:
            return _measured(what, *rest, cores=cores)
        finally:
            for left in folder.glob("out*"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()

    files, many, out = folder / "files", folder / "many", folder / "out"
    repeat, peer_s = arguments.repeat, arguments.peer_s
    write_variants(bases, files, arguments.count)
    made = Collection(
        name,
        len(bases),
        load=timed("load", files, repeat),
        build=timed("build", files, out, 1, repeat),
        pieces=timed("pieces", files, out, 1, repeat),
        program=timed("program", files, out, repeat),
        peers={
            "MidiTok MMM, Megatron's writer": timed("miditok", files, out, peer_s),
            "pretty_midi, plain Python": timed("pretty_midi", files, out, peer_s),
        },
    )
    size_bytes = made.load["bytes"] / made.load["files"]
    count = int(min(arguments.many_mb * 1e6 / size_bytes, MOST_FILES))
    write_variants(bases, many, count, seed=2)
    made.by_workers = {
        workers: timed("build", many, out, workers, repeat, cores=(0, 1)[:workers])
        for workers in (1, 2)
    }
    for share in MEMORY_SHARES[:-1]:
        part = folder / f"part-{share}"
        write_variants(bases, part, int(share * count), seed=3)
        made.by_size.append(timed("build", part, out, 2, cores=(0, 1)))
    made.by_size.append(made.by_workers[2])
    return made


def _measured(what: str, *rest: object, cores: tuple[int, ...]) -> Cost:
    """Return what `build_timed.py` printed; `missing` where a peer is not installed."""
    cost = attempt("build_timed.py", what, *rest, cores=cores)
    reason = cost.get("missing", "")
    if "No module named" in reason:
        return {"missing": f"{reason.split()[-1]} is not installed: pip install miditok"}
    if reason:
        sys.exit(f"error: {what} failed: {reason}")
    return cost


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
        markdown_table(
            ("", "files timed", "files/s, one core", "of bare loading", "the whole build is"),
            _rates(one),
        ),
        markdown_table(
            ("workers", "files", "wall s", "files/s by the wall", "speed-up"), _speed_up(one)
        ),
        markdown_table(
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
        "**the whole build, of pieces**": one.pieces,
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


if __name__ == "__main__":
    main()
