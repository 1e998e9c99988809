"""Reading and encoding MIDI files against symusic's bare loading, on one core.

    taskset -c 0 python profiling/benchmarks/kernels.py FOLDER [--steps 4] [--repeat 9]

FOLDER holds MIDI files, at whatever depth. Every figure is the best of the repetitions, which take
turns, so that what else the machine does troubles all alike. `whole` is everything from bytes on a
disk that is in memory to tokens in a file, short of what joins the shards of a data set. Ratios
are symusic's time over the row's: 2 is twice as quick as only loading.
"""

import argparse
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import symusic
from rich.console import Console
from rich.table import Table

from megatron_music.score.midi_file import LONGEST_QUARTERS
from megatron_music.score.midi_kernel import new_buffers, scan
from megatron_music.tokenizer.batch import BatchEncoder
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary

BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=4, choices=(4, 12), help="steps a quarter")
    parser.add_argument("--repeat", type=int, default=9)
    arguments = parser.parse_args()
    paths = sorted(p for p in arguments.folder.rglob("*") if p.suffix.lower() in (".mid", ".midi"))
    if not paths:
        parser.error(f"no MIDI file in {arguments.folder}")
    Console().print(table(paths, arguments.steps, arguments.repeat))


def table(paths: list[Path], steps: int, repeat: int) -> Table:
    files = [path.read_bytes() for path in paths]
    encoder = BatchEncoder(Vocabulary(TokenizerSettings(steps)), 4, 4, shuffle=True)
    merging = BatchEncoder(Vocabulary(TokenizerSettings(steps)), 4, 4, shuffle=True, merge=True)
    rows: dict[str, Callable[[], object]] = {
        "symusic: load": lambda: [symusic.Score.from_midi(raw) for raw in files],
        "symusic: load, numpy": lambda: [numpy_columns(raw) for raw in files],
        "kernel: read": lambda: scan_all(files),
        "kernel: read, encode": lambda: [encoder.encode(batch) for batch in batches(files)],
        "kernel: read, merge, encode": lambda: [merging.encode(batch) for batch in batches(files)],
        "whole: disk to disk": lambda: whole(paths, encoder),
    }
    seconds = {name: float("inf") for name in rows}
    for _ in range(repeat + 1):
        for name, work in rows.items():
            start = time.process_time()
            work()
            seconds[name] = min(seconds[name], time.process_time() - start)
    tokens = sum(len(encoder.encode(batch).tokens) for batch in batches(files))
    return drawn(seconds, len(files), sum(map(len, files)), tokens)


def batches(files: list[bytes]) -> list[list[bytes]]:
    return [files[start : start + BATCH] for start in range(0, len(files), BATCH)]


def numpy_columns(raw: bytes) -> list[object]:
    return [track.notes.numpy() for track in symusic.Score.from_midi(raw).tracks]


def scan_all(files: list[bytes]) -> None:
    data = np.frombuffer(bytearray().join(files), np.uint8)
    edges = np.cumsum([0, *map(len, files)]).tolist()
    buffers = new_buffers(200_000)
    for start, end in pairwise(edges):
        scan(data, start, end, LONGEST_QUARTERS, buffers)


def whole(paths: list[Path], encoder: BatchEncoder) -> None:
    with TemporaryFile() as file:
        for start in range(0, len(paths), BATCH):
            batch = encoder.encode([path.read_bytes() for path in paths[start : start + BATCH]])
            file.write(batch.tokens)


def drawn(seconds: dict[str, float], files: int, size_bytes: int, tokens: int) -> Table:
    loading = seconds["symusic: load"]
    title = f"{files} files, {size_bytes / files / 1e3:.1f} kB and {tokens / files:.0f} tokens each"
    drawn = Table("", "us a file", "files/s", "M tokens/s", "ratio", title=title)
    for name, took in seconds.items():
        speed = f"{tokens / took / 1e6:.0f}" if "encode" in name or "whole" in name else ""
        figures = f"{took / files * 1e6:.1f}", f"{files / took:.0f}", speed, f"{loading / took:.2f}"
        drawn.add_row(name, *figures)
    return drawn


if __name__ == "__main__":
    main()
