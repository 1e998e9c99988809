"""Stand for Python, and for `nvidia-smi`, on a machine with a GPU: leave what the programs leave.

What it is asked for it appends to the file that STAND_IN_ASKED names. STAND_IN_FAILS names a run
whose training fails.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from megatron_music.profiling.sweep.subprocesses import RUN_OPTION

LOSSES = {"fp32": 0.0, "auto": 0.01, "fp16": 0.02}
"""What each precision adds to every loss."""


def train(words: list[str]) -> None:
    given, options = settings(words), dict(pairwise(words))
    run = Path(options[RUN_OPTION])
    if run.name == os.environ.get("STAND_IN_FAILS"):
        sys.exit("error: the device is out of memory")
    iterations = int(given["train.train_iters"])
    loss = 6.0 + LOSSES.get(given.get("train.precision", ""), 0.0)
    run.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"iteration": at + 1, "lm_loss": loss - at}) for at in range(iterations)]
    (run / "log.jsonl").write_text("".join(f"{line}\n" for line in lines))
    if iterations > 100:  # the load that NVML watches
        time.sleep(600)
    if every := int(given.get("log.save_interval", 0)):
        for at in range(every, iterations + 1, every):
            (run / "checkpoints" / f"step_{at}").mkdir(parents=True, exist_ok=True)
            (run / "checkpoints" / f"step_{at}" / "meta.json").write_text("{}")
    if int(given.get("log.sample_interval", 0)):
        write(run / "samples" / f"step_{iterations}" / "song-7.mid")
    if given.get("log.use_pytorch_profiler") == "true":
        write(run / "trace.json.gz")


def doctor(_: list[str]) -> None:
    gpu = {"name": "GPU", "found": "1 x NVIDIA Example, 80 GiB", "status": "ok"}
    print(json.dumps({"ready": True, "findings": [gpu]}, indent=2))


def export(words: list[str]) -> None:
    Path(words[words.index("-o") + 1]).mkdir()


def sample(words: list[str]) -> None:
    options = dict(pairwise(words))
    on_cpu = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
    for song in range(int(options["-n"])):
        file = Path(options["-o"]) / f"song-{song}.mid"
        write(file, "cpu" if on_cpu and song == 0 else "same")


def nsight(_: list[str]) -> None:
    print(json.dumps({"devices": [{"device": 0, "classes_ms": {"gemm": 9.5}}], "notes": []}))


def nvml(_: list[str]) -> None:
    from megatron_music.profiling.nvml.reader import DeviceSample, Sample, to_json

    values: dict[str, Any] = dict.fromkeys(DeviceSample.__dataclass_fields__)
    values |= {"index": 0, "uuid": "GPU-1", "lost": False, "power_w": 300.0}
    device = DeviceSample(**values)
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    while True:
        print(to_json(Sample(time.time(), (device,))), flush=True)
        time.sleep(0.05)


def sweep(words: list[str]) -> None:
    folder = Path(words[words.index("-o") + 1])
    write(folder / "report.csv", "memory_gib,estimated_gib\n12.5,12.1\n")
    write(folder / "report.md", "# Profile of training\n")


def bench(words: list[str]) -> None:
    write(Path(words[words.index("-o") + 1]), "# Training: one run\n")


def pytest(_: list[str]) -> None:
    print("FAILED tests/train/test_trainer.py::test_it - assert 0\n1 failed, 3 passed")
    sys.exit(1)


def smi(words: list[str]) -> None:
    print("power.draw [W], clocks.sm [MHz]\n301.0, 1700\n303.0, 1800", flush=True)
    if "-lms" in words:
        time.sleep(600)


PROGRAMS: dict[str, Callable[[list[str]], None]] = {
    "nvidia-smi": smi,
    "pytest": pytest,
    "doctor": doctor,
    "train": train,
    "huggingface.py": train,
    "export": export,
    "sample": sample,
    "train.py": bench,
    "nsight": nsight,
    "nvml": nvml,
    "sweep": sweep,
}


def settings(words: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words if "=" in word)


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def main() -> None:
    words = sys.argv[1:]
    with Path(os.environ["STAND_IN_ASKED"]).open("a") as asked:
        asked.write(json.dumps([Path(sys.argv[0]).name, *words]) + "\n")
    if Path(sys.argv[0]).name == "nvidia-smi":
        smi(words)
        return
    known = [Path(word).name for word in words]
    name = next(one for one in known if one in PROGRAMS)
    PROGRAMS[name](words)


if __name__ == "__main__":
    main()
