"""Our whole build of a folder: `python timed_build.py FOLDER DATASET WORKERS [REPEAT]`.

From the listing of the files to the last hash of a finished data set, in one process and its
workers; importing and loading the compiled kernels go before, by a small build. Then `verify`.
"""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import psutil
from made_up import midi_files

from megatron_music.data.build import build
from megatron_music.data.settings import BuildSettings
from megatron_music.data.sources import folder_source
from megatron_music.data.verify import verify

WARM_UP_FILES = 600
"""More than two shards, so that every worker has loaded the kernels."""


def main() -> None:
    folder, data_set, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    _warm_up(folder, workers)
    runs = []
    for _ in range(int(sys.argv[4]) if len(sys.argv) > 4 else 1):
        shutil.rmtree(data_set, ignore_errors=True)
        before = _cpu_s()
        start = time.perf_counter()
        manifest = build(folder_source(folder), data_set, BuildSettings(), workers).manifest
        wall_s = time.perf_counter() - start
        runs.append({"wall_s": wall_s, "cpu_s": _cpu_s() - before})
    figures = {name: min(run[name] for run in runs) for name in runs[0]}
    memory = {  # before the data set itself is mapped into memory
        "peak_bytes": _peak_bytes(psutil.Process()),
        "worker_peak_bytes": max(map(_peak_bytes, _workers()), default=0),
    }
    start = time.process_time()
    checked = verify(data_set)
    verify_s = time.process_time() - start
    print(
        json.dumps(
            figures
            | memory
            | {
                "files": manifest["inputs"]["total"],
                "kept": manifest["inputs"]["kept"],
                "tokens": checked.tokens,
                "verify_s": verify_s,
                "written_bytes": sum(record["bytes"] for record in manifest["files"].values()),
            }
        )
    )


def _warm_up(folder: Path, workers: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        few = Path(scratch) / "few"
        few.mkdir()
        for number, path in enumerate(midi_files(folder)[:WARM_UP_FILES]):
            (few / f"{number}.mid").symlink_to(path.resolve())
        build(folder_source(few), Path(scratch) / "set", BuildSettings(), workers)
        verify(Path(scratch) / "set")


def _workers() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _cpu_s() -> float:
    return time.process_time() + sum(sum(process.cpu_times()[:2]) for process in _workers())


def _peak_bytes(process: psutil.Process) -> int:
    lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM")), 0)


if __name__ == "__main__":
    main()
