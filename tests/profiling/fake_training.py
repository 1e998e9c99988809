"""Stands for training: a log of quick steps, or trouble, as `train.seed` asks.

    python fake_training.py megatron_music train RECIPE --data DIR --run-dir DIR [key=value ...]

What it does it writes down in `DIR/../../ran.txt` of the data folder, one of several by length.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

FINE, OUT_OF_MEMORY, HANGS, RAISES, KILLED, SILENT, SHORT, HANGS_ONCE, SLOW = range(1, 10)
STEP_S = 0.5


def command(processes: int, recipe: str, data: Path, run: Path, overrides: list[str]) -> list[str]:
    """Return what takes the place of the training command."""
    words = [sys.executable, __file__, "megatron_music", "train", recipe, "--data", str(data)]
    return [*words, "--run-dir", str(run), *overrides, f"processes={processes}"]


def main(words: list[str]) -> int:
    run, data = Path(words[words.index("--run-dir") + 1]), Path(words[words.index("--data") + 1])
    given = dict(word.split("=", 1) for word in words if "=" in word)
    seed, steps = int(given["train.seed"]), int(given["train.train_iters"])
    notes = data.parents[1] / "ran.txt"
    before = notes.read_text().splitlines() if notes.exists() else []
    with notes.open("a") as file:
        file.write(f"{seed} {os.getpid()}\n")
    again = any(line.split()[0] == str(seed) for line in before)
    if seed == HANGS or (seed == HANGS_ONCE and not again):
        time.sleep(600)
    if seed == KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    if seed == RAISES:
        raise RuntimeError("the matrix is singular")
    if seed == OUT_OF_MEMORY:
        print("error: the device is out of memory; lower train.micro_batch_size")
    if seed in (OUT_OF_MEMORY, SILENT):
        return 1
    lines = [{"iteration": i, "step_time_s": STEP_S * i} for i in range(1, steps + 1)]
    with (run / "log.jsonl").open("w", buffering=1) as log:
        for line in lines[:-1] if seed == SHORT else lines:
            time.sleep(0.4 if seed == SLOW else 0)
            log.write(json.dumps(line) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
