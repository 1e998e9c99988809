"""One thing that `build.py` measures, in a process of its own: `build_timed.py WHAT FOLDER ...`.

load FOLDER REPEAT              symusic's bare loading of files that are in memory
build FOLDER OUT WORKERS REPEAT our whole build, from the listing of the files to the last hash
pieces FOLDER OUT WORKERS REPEAT the same of whole pieces
program FOLDER OUT REPEAT       the same as a command, Python's start included; one worker
miditok FOLDER OUT SECONDS      MidiTok's MMM and Megatron's own writer
pretty_midi FOLDER OUT SECONDS  an encoder as one writes it first: pretty_midi and plain Python

The peers take files evenly over the folder until their time is up. Prints JSON.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from harness import Cost, spread
from made_up import midi_files

STEPS_PER_BAR, WINDOW_BARS = 16, 4
WARM_UP_FILES = 600
"""More than two shards, so that every worker has loaded the kernels."""

Events = dict[int, dict[int, list[str]]]
"""Words by bar and step."""


def load(folder: Path, repeat: str) -> Cost:
    import symusic

    files = [path.read_bytes() for path in midi_files(folder)]
    seconds = []
    for _ in range(int(repeat)):
        start = time.process_time()
        for raw in files:
            symusic.Score.from_midi(raw)
        seconds.append(time.process_time() - start)
    return {"files": len(files), "cpu_s": min(seconds), "bytes": sum(map(len, files))}


def build(
    folder: Path, data_set: str, workers: str, repeat: str = "1", *, of_pieces: bool = False
) -> Cost:
    """Time builds, after a small one that loads the compiled kernels, and `verify`."""
    from megatron_music.data.build import build as build_data
    from megatron_music.data.report.verify import verify
    from megatron_music.data.settings import BuildSettings
    from megatron_music.data.sources.open import folder_source

    _warm_up(folder, int(workers))
    settings = BuildSettings(pieces=of_pieces)
    runs = []
    for _ in range(int(repeat)):
        shutil.rmtree(data_set, ignore_errors=True)
        before, start = _cpu_s(), time.perf_counter()
        made = build_data(folder_source(folder), Path(data_set), settings, int(workers))
        wall_s = time.perf_counter() - start
        runs.append({"wall_s": wall_s, "cpu_s": _cpu_s() - before})
    memory = {  # before the data set itself is mapped into memory
        "peak_bytes": _peak_bytes(psutil.Process()),
        "worker_peak_bytes": max(map(_peak_bytes, _workers()), default=0),
    }
    start = time.process_time()
    checked = verify(Path(data_set))
    return (
        {name: min(run[name] for run in runs) for name in runs[0]}
        | memory
        | {
            "files": made.manifest["inputs"]["total"],
            "kept": made.manifest["inputs"]["kept"],
            "tokens": checked.tokens,
            "verify_s": time.process_time() - start,
        }
    )


def pieces(folder: Path, data_set: str, workers: str, repeat: str = "1") -> Cost:
    """Time builds of whole pieces."""
    return build(folder, data_set, workers, repeat, of_pieces=True)


def _warm_up(folder: Path, workers: int) -> None:
    from megatron_music.data.build import build as build_data
    from megatron_music.data.report.verify import verify
    from megatron_music.data.settings import BuildSettings
    from megatron_music.data.sources.open import folder_source

    with tempfile.TemporaryDirectory() as scratch:
        few = Path(scratch) / "few"
        few.mkdir()
        for number, path in enumerate(midi_files(folder)[:WARM_UP_FILES]):
            (few / f"{number}.mid").symlink_to(path.resolve())
        build_data(folder_source(few), Path(scratch) / "set", BuildSettings(), workers)
        verify(Path(scratch) / "set")


def _workers() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _cpu_s() -> float:
    return time.process_time() + sum(sum(process.cpu_times()[:2]) for process in _workers())


def _peak_bytes(process: psutil.Process) -> int:
    lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM")), 0)


def program(folder: Path, output: str, repeat: str) -> Cost:
    """Time the command; the kernels have been compiled before, as after a machine's first build."""
    command = [sys.executable, "-m", "megatron_music", "data", "build", str(folder)]
    runs = []
    for _ in range(int(repeat)):
        shutil.rmtree(output, ignore_errors=True)
        start = time.perf_counter()
        with subprocess.Popen(
            [*command, "-o", output, "--workers", "1", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as started:
            told = started.stdout.read() if started.stdout else ""
            _, status, usage = os.wait4(started.pid, 0)
            wall_s = time.perf_counter() - start
            started.returncode = os.waitstatus_to_exitcode(status)
        if status:
            sys.exit("the build failed")
        cpu_s = usage.ru_utime + usage.ru_stime
        files = json.loads(told)["inputs"]["total"]
        runs.append({"wall_s": wall_s, "cpu_s": cpu_s, "files": files})
    return min(runs, key=lambda run: run["cpu_s"])


def miditok(folder: Path, output: str, limit_s: str) -> Cost:
    """Time the settings nearest to ours: MMM over MIDI-like events, 4 steps a quarter, a file each.

    Its bars are not cut into windows, which would cost it more.
    """
    import symusic
    import torch
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder
    from miditok import MMM, TokenizerConfig

    tokenizer = MMM(
        TokenizerConfig(
            beat_res={(0, 64): 4},
            base_tokenizer="MIDILike",
            num_velocities=1,
            use_velocities=False,
            use_tempos=False,
            use_programs=True,
        )
    )
    files, start = 0, time.process_time()
    writer = IndexedDatasetBuilder(f"{output}.bin", dtype=np.uint16)
    for path in spread(midi_files(folder)):
        ids = tokenizer.encode(symusic.Score(path)).ids
        writer.add_document(torch.tensor(ids), [len(ids)])
        files += 1
        if time.process_time() - start > float(limit_s):
            break
    writer.finalize(f"{output}.idx")
    cpu_s = time.process_time() - start
    return {"files": files, "cpu_s": cpu_s, "version": metadata.version("miditok")}


def pretty_midi(folder: Path, output: str, limit_s: str) -> Cost:
    """Time an encoder after the way of MMM-JSB: bar by bar, track by track, words of mmmtrack."""
    files, start = 0, time.process_time()
    with Path(output).open("w", encoding="utf-8") as words:
        for path in spread(midi_files(folder)):
            words.writelines(line + "\n" for line in windows(path))
            files += 1
            if time.process_time() - start > float(limit_s):
                break
    return {"files": files, "cpu_s": time.process_time() - start}


def windows(path: Path) -> list[str]:
    from pretty_midi import PrettyMIDI

    midi = PrettyMIDI(str(path))
    tracks = [(_name(part), events(midi, part)) for part in midi.instruments]
    bars = 1 + max((max(found, default=0) for _, found in tracks), default=0)
    return [
        line
        for first in range(0, bars, WINDOW_BARS)
        if (line := _line(tracks, range(first, first + WINDOW_BARS)))
    ]


def _name(part: Any) -> str:
    return "DRUMS" if part.is_drum else str(part.program)


def events(midi: Any, part: Any) -> Events:
    """Return the words of a part; a note's end on a barline belongs to the bar it ends."""
    found: Events = defaultdict(lambda: defaultdict(list))
    for note in sorted(part.notes, key=lambda note: (note.start, note.pitch)):
        onset = _step(midi, note.start)
        end = max(_step(midi, note.end), onset + 1)
        bar, step = divmod(onset, STEPS_PER_BAR)
        found[bar][step].append(f"NOTE_ON={note.pitch}")
        bar, step = divmod(end - 1, STEPS_PER_BAR)
        found[bar][step + 1].insert(0, f"NOTE_OFF={note.pitch}")
    return found


def _step(midi: Any, seconds: float) -> int:
    return round(midi.time_to_tick(seconds) * STEPS_PER_BAR / 4 / midi.resolution)


def _line(tracks: list[tuple[str, Events]], bars: range) -> str:
    words = ["PIECE_START"]
    for name, found in tracks:
        if not any(bar in found for bar in bars):
            continue
        notes = sum(len(at) for bar in bars if bar in found for at in found[bar].values())
        words += ["TRACK_START", f"INST={name}", f"DENSITY={min(notes // 16, 9)}"]
        for bar in bars:
            words += ["BAR_START", *_bar(found.get(bar, {})), "BAR_END"]
        words.append("TRACK_END")
    return " ".join([*words, "PIECE_END"]) if len(words) > 1 else ""


def _bar(at_steps: dict[int, list[str]]) -> list[str]:
    words, now = [], 0
    for step in sorted(at_steps):
        if step > now:
            words.append(f"TIME_DELTA={step - now}")
        words += at_steps[step]
        now = step
    return words


MEASURED: dict[str, Callable[..., Cost]] = {
    one.__name__: one for one in (load, build, pieces, program, miditok, pretty_midi)
}


if __name__ == "__main__":
    what, files, *rest = sys.argv[1:]
    print(json.dumps(MEASURED[what](Path(files), *rest)))
