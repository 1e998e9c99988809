"""Building data sets beside its peers, in one run on the same files: `make bench-data`.

    python profiling/benchmarks/build.py [--files FOLDER]... [--count 2400] [--write]

Without --files, music is made up: bands (multi-track) and choirs (chorales). Each folder given is a
collection of its own. Files are varied, so that none is a duplicate, until there are --count.
`build.py --measure WHAT FOLDER ...` is one measurement, in a process of its own; it prints JSON.
"""

import argparse
import datetime as dt
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from harness import Cost, attempt, describe, head, run
from synthetic_files import made_up, midi_files, read_bases, write_variants

from megatron_music.formatting import markdown_table

RESULTS = Path(__file__).resolve().parents[1] / "results"
PACKAGES = ("symusic", "numba", "numpy", "miditok", "pretty_midi", "joblib")
SHARES = (0.1, 0.3, 1.0)
MOST_FILES = 60_000
STEPS_PER_BAR, WINDOW_BARS = 16, 4

NAMES = {
    "load": "symusic, bare loading",
    "build": "**the whole build**",
    "pieces": "**the whole build, of pieces**",
    "program": "the whole build, as a command",
    "miditok": "MidiTok MMM, Megatron's writer",
    "pretty_midi": "pretty_midi, plain Python",
}
PEERS = ("miditok", "pretty_midi")

NOTES = """
Rates are files a second of CPU time on one core, the best of the repetitions; those by the clock
on the wall say so. symusic only loads bytes that are in memory already. *The whole build* lists,
reads, encodes, finds duplicates, writes and hashes a finished data set; *as a command* adds
starting Python and loading the compiled kernels. The peers get a subset, spread evenly over the
files: their rates are of that. MidiTok's tokens are not cut into windows, which would cost it more.
Memory is the largest resident set that a process ever had.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--files", type=Path, action="append", default=[], help="a folder of MIDI files")
    add("--count", type=int, default=2_400, help="files of each collection")
    add("--many-mb", type=float, default=400, help="files for workers and memory")
    add("--repeat", type=int, default=5, help="the best of so many runs counts")
    add("--peer-s", type=float, default=20, help="seconds that each peer gets")
    add("--core", type=int, default=0, help="the core that one core means")
    add("--scratch", type=Path, help="where to make files; else as TMPDIR says")
    add("--write", action="store_true", help=f"write the result into {RESULTS}")
    options = parser.parse_args()
    given = {folder.resolve().name: read_bases(folder) for folder in options.files}
    if empty := [name for name, bases in given.items() if not bases]:
        sys.exit(f"error: no MIDI file that can be read in {', '.join(empty)}")
    page = head("Building data sets: one run, the same files", PACKAGES) + NOTES
    for name, bases in (given or made_up()).items():
        with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
            costs, builds = measure(name, bases, Path(scratch), options)
            page += "\n" + section(name, len(bases), costs, builds)
    print(page)
    if options.write:
        name = f"{dt.date.today():%Y-%m-%d}_{describe(PACKAGES).device}_data.md"
        (RESULTS / name).write_text(page, encoding="utf-8")


def measure(
    name: str, bases: list[Any], folder: Path, options: argparse.Namespace
) -> tuple[dict[str, Cost], list[Cost]]:
    """Measure everything on one collection: by name on one core, and builds by many workers."""

    def timed(what: str, *rest: object, cores: tuple[int, ...] = (options.core,)) -> Cost:
        print(f"{name}: {what} {' '.join(map(str, rest[1:]))}", file=sys.stderr)
        cost = attempt(__file__, "--measure", what, *rest, cores=cores)
        reason = cost.get("missing", "")
        if "No module named" in reason:
            return {"missing": f"{reason.split()[-1]} is not installed: pip install miditok"}
        if reason:
            sys.exit(f"error: {what} failed: {reason}")
        return cost

    files, many = folder / "files", folder / "many"
    write_variants(bases, files, options.count)
    costs = {
        what: timed(what, files, options.peer_s if what in PEERS else options.repeat)
        for what in NAMES
    }
    size_bytes = costs["load"]["bytes"] / costs["load"]["files"]
    count = int(min(options.many_mb * 1e6 / size_bytes, MOST_FILES))
    write_variants(bases, many, count, seed=2)
    builds = [timed("build", many, options.repeat, 1)]
    for share in SHARES[:-1]:  # of the smaller, memory is what counts
        part = folder / f"part-{share}"
        write_variants(bases, part, int(share * count), seed=3)
        builds.append(timed("build", part, 1, 2, cores=(0, 1)))
    return costs, [*builds, timed("build", many, options.repeat, 2, cores=(0, 1))]


def section(name: str, bases: int, costs: dict[str, Cost], builds: list[Cost]) -> str:
    """Write what was measured on a collection; the first of `builds` has one worker."""
    rates = {what: of["files"] / of["cpu_s"] for what, of in costs.items() if "missing" not in of}
    rows: list[tuple[object, ...]] = []
    for what, cost in costs.items():
        if what not in rates:
            rows.append((NAMES[what], cost["missing"], "", "", ""))
            continue
        faster = f"{rates['build'] / rates[what]:,.0f} times as fast" if what in PEERS else ""
        share = f"{rates[what] / rates['load']:.2g}"
        rows.append((NAMES[what], f"{cost['files']:,}", f"{rates[what]:,.0f}", share, faster))
    alone, load, built = builds[0], costs["load"], costs["build"]
    walls = [cost["files"] / cost["wall_s"] for cost in builds]
    by_workers = [
        (cost["workers"], f"{cost['files']:,}", f"{cost['wall_s']:.2f}", f"{rate:,.0f}",
         f"{rate / walls[0]:.2f}", f"{cost['worker_peak_bytes'] / 1e6:.0f}",
         f"{cost['peak_bytes'] / 1e6:.0f}")
        for cost, rate in zip(builds, walls, strict=True)
    ]  # fmt: skip
    by_way = ("", "files timed", "files/s, one core", "of bare loading", "the whole build is")
    workers = ("workers", "files", "wall s", "files/s by the wall", "speed-up",
               "largest worker, MB", "main process, MB")  # fmt: skip
    return (
        f"## {name}\n\n{load['files']:,} variants of {bases} pieces, "
        f"{load['bytes'] / load['files'] / 1e3:.1f} kB each; "
        f"{built['tokens'] / built['kept']:,.0f} tokens a piece that was kept "
        f"({built['kept'] / built['files']:.0%} were).\n\n{markdown_table(by_way, rows)}\n\n"
        f"{markdown_table(workers, by_workers)}\n\n"
        f"`data verify`, hashes and grammar, one process: {alone['tokens'] / 1e6:,.1f} M tokens at "
        f"{alone['tokens'] / 1e6 / alone['verify_s']:,.1f} M tokens/s.\n"
    )


def load(folder: str, repeat: str) -> Cost:
    """Time symusic's bare loading of files that are in memory."""
    import symusic

    files, seconds = [path.read_bytes() for path in midi_files(Path(folder))], []
    for _ in range(int(repeat)):
        start = time.process_time()
        for raw in files:
            symusic.Score.from_midi(raw)
        seconds.append(time.process_time() - start)
    return {"files": len(files), "cpu_s": min(seconds), "bytes": sum(map(len, files))}


def build(folder: str, repeat: str, workers: str = "1", *, of_pieces: bool = False) -> Cost:
    """Time builds, from the listing of the files to the last hash, and `verify`."""
    from megatron_music.data.build import build as build_data
    from megatron_music.data.report.verify import verify
    from megatron_music.data.settings import BuildSettings
    from megatron_music.data.sources.open import folder_source

    settings, data_set = BuildSettings(pieces=of_pieces), Path(folder).with_name("set")
    own, walls, cpus, verified = psutil.Process(), [], [], []

    def cpu_s() -> float:
        return time.process_time() + sum(sum(of.cpu_times()[:2]) for of in own.children(True))

    for _ in range(1 + int(repeat)):  # the first loads the compiled kernels, in all workers
        shutil.rmtree(data_set, ignore_errors=True)
        before, start = cpu_s(), time.perf_counter()
        made = build_data(folder_source(Path(folder)), data_set, settings, int(workers))
        walls.append(time.perf_counter() - start)
        cpus.append(cpu_s() - before)
    # Memory before the data set itself is mapped into it.
    peaks = [_peak_bytes(own), max(map(_peak_bytes, own.children(True)), default=0)]
    for _ in range(2):
        start = time.process_time()
        checked = verify(data_set)
        verified.append(time.process_time() - start)
    return made.manifest["inputs"] | {
        "files": made.manifest["inputs"]["total"],
        "workers": int(workers),
        "wall_s": min(walls[1:]),
        "cpu_s": min(cpus[1:]),
        "tokens": checked.tokens,
        "verify_s": min(verified),
        "peak_bytes": peaks[0],
        "worker_peak_bytes": peaks[1],
    }


def _peak_bytes(process: psutil.Process) -> int:
    lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM")), 0)


def program(folder: str, repeat: str) -> Cost:
    """Time the command; the kernels have been compiled before, as after a machine's first build."""
    data_set, seconds = str(Path(folder).with_name("set")), []
    command = [sys.executable, "-m", "megatron_music", "data", "build", folder, "-o", data_set]
    for _ in range(int(repeat)):
        shutil.rmtree(data_set, ignore_errors=True)
        before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        subprocess.run([*command, "--workers", "1"], capture_output=True, check=True)
        seconds.append(sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before)
    return {"files": len(midi_files(Path(folder))), "cpu_s": min(seconds)}


def miditok(folder: str, limit_s: str) -> Cost:
    """Time the settings nearest to ours: MMM over MIDI-like events, 4 steps a quarter, a file each.

    Its bars are not cut into windows, which would cost it more.
    """
    import symusic
    import torch
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder
    from miditok import MMM, TokenizerConfig

    config = TokenizerConfig(
        beat_res={(0, 64): 4}, base_tokenizer="MIDILike", num_velocities=1, use_velocities=False,
        use_tempos=False, use_programs=True,
    )  # fmt: skip
    tokenizer, start, count = MMM(config), time.process_time(), 0
    writer = IndexedDatasetBuilder(f"{folder}.bin", dtype=np.uint16)
    for path in evenly(folder, limit_s):
        ids = tokenizer.encode(symusic.Score(path)).ids
        writer.add_document(torch.tensor(ids), [len(ids)])
        count += 1
    writer.finalize(f"{folder}.idx")
    return {"files": count, "cpu_s": time.process_time() - start}


def pretty_midi(folder: str, limit_s: str) -> Cost:
    """Time an encoder after the way of MMM-JSB: bar by bar, track by track, words of mmmtrack."""
    start, count = time.process_time(), 0
    with Path(folder).with_name("words.txt").open("w", encoding="utf-8") as words:
        for path in evenly(folder, limit_s):
            words.writelines(line + "\n" for line in windows(path))
            count += 1
    return {"files": count, "cpu_s": time.process_time() - start}


def evenly(folder: str, limit_s: str) -> Iterator[Path]:
    """Yield the files of a folder until the time is up, at any time spread evenly over them."""
    golden, until_s = 0.618033988749895, time.process_time() + float(limit_s)
    files = enumerate(midi_files(Path(folder)))
    for _, path in sorted((i * golden % 1, path) for i, path in files):
        yield path
        if time.process_time() > until_s:
            return


def windows(path: Path) -> list[str]:
    """Return the text of each window of a file: an encoder as one writes it first."""
    from pretty_midi import PrettyMIDI

    midi, tracks = PrettyMIDI(str(path)), []
    steps_per_tick = STEPS_PER_BAR / 4 / midi.resolution
    for part in midi.instruments:
        bars: dict[int, list[tuple[int, str, int]]] = defaultdict(list)
        for note in part.notes:
            onset = round(midi.time_to_tick(note.start) * steps_per_tick)
            end = max(round(midi.time_to_tick(note.end) * steps_per_tick), onset + 1)
            bars[onset // STEPS_PER_BAR].append((onset % STEPS_PER_BAR, "NOTE_ON", note.pitch))
            bar, step = divmod(end - 1, STEPS_PER_BAR)  # on a barline: of the bar that it ends
            bars[bar].append((step + 1, "NOTE_OFF", note.pitch))
        tracks.append(("DRUMS" if part.is_drum else str(part.program), bars))
    lines = []
    for first in range(0, 1 + max((max(bars, default=0) for _, bars in tracks), default=0), 4):
        words = []
        for name, bars in tracks:
            here = [sorted(bars.get(first + bar, ())) for bar in range(WINDOW_BARS)]
            if any(here):
                density = min(sum(map(len, here)) // 32, 9)
                words += ["TRACK_START", f"INST={name}", f"DENSITY={density}"]
                words += [word for bar in here for word in _bar(bar)] + ["TRACK_END"]
        if words:
            lines.append(" ".join(["PIECE_START", *words, "PIECE_END"]))
    return lines


def _bar(events: list[tuple[int, str, int]]) -> Iterator[str]:
    now = 0
    yield "BAR_START"
    for step, kind, pitch in events:
        if step > now:
            yield f"TIME_DELTA={step - now}"
        yield f"{kind}={pitch}"
        now = step
    yield "BAR_END"


if __name__ == "__main__":
    measures = {one.__name__: one for one in (load, build, program, miditok, pretty_midi)}
    run(main, measures | {"pieces": partial(build, of_pieces=True)})
