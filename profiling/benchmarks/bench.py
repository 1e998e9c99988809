"""The whole benchmark in one run on the same files: `make bench`.

    python profiling/benchmarks/bench.py [--files FOLDER]... [--count 2400] [--write]

Without --files, music is made up: bands (multi-track) and choirs (chorales). Each folder given is a
collection of its own. Files are varied, so that none is a duplicate, until there are --count.
"""

import argparse
import datetime as dt
import sys
import tempfile
from pathlib import Path

from machine import describe, load_average
from made_up import bands, choirs, read_bases, write_variants
from measure import Cost, measure
from rich.console import Console
from tables import Collection, markdown
from touched import touched_memory

RESULTS = Path(__file__).resolve().parents[1] / "results"
MEMORY_SHARES = (0.1, 0.3, 1.0)
MOST_FILES = 60_000
WRITTEN = 3.0
"""Two data sets and their shards, by the size of the files."""


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
        return measure(what, *rest, cores=cores)

    files, many, out = folder / "files", folder / "many", folder / "out"
    repeat, peer_s = arguments.repeat, arguments.peer_s
    write_variants(bases, files, arguments.count)
    made = Collection(
        name,
        len(bases),
        load=timed("timed_load.py", files, repeat),
        build=timed("timed_build.py", files, out, 1, repeat),
        program=timed("timed_program.py", files, out, repeat),
        peers={
            "MidiTok MMM, Megatron's writer": timed("timed_miditok.py", files, out, peer_s),
            "pretty_midi, plain Python": timed("timed_pretty_midi.py", files, out, peer_s),
        },
    )
    size_bytes = made.load["bytes"] / made.load["files"]
    count = int(min(arguments.many_mb * 1e6 / size_bytes, MOST_FILES))
    write_variants(bases, many, count, seed=2)
    with touched_memory(int(WRITTEN * count * size_bytes)):
        made.by_workers = {
            workers: timed("timed_build.py", many, out, workers, repeat, cores=(0, 1)[:workers])
            for workers in (1, 2)
        }
    for share in MEMORY_SHARES[:-1]:
        part = folder / f"part-{share}"
        write_variants(bases, part, int(share * count), seed=3)
        made.by_size.append(timed("timed_build.py", part, out, 2, cores=(0, 1)))
    made.by_size.append(made.by_workers[2])
    return made


if __name__ == "__main__":
    main()
