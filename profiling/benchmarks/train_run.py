"""One of our ways to train, as a person runs it: `train_run.py PROGRAM RECIPE DATA [key=value]...`.

PROGRAM is `engine` (megatron-music train) or `trainer` (launch/huggingface.py). Prints the median
step of its log after the warm-up, the loading of its data included, and the loss it came to.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from train_case import WARMUP

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {
    "engine": ["-m", "megatron_music", "train"],
    "trainer": [str(ROOT / "launch" / "huggingface.py")],
}
QUIET = [
    "log.log_interval=1",
    "log.eval_interval=0",
    "log.save_interval=0",
    "log.save_last=false",
    "log.sample_interval=0",
    "log.tensorboard=false",
]


def main() -> None:
    program, recipe, data, *overrides = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, *PROGRAMS[program], recipe, "--data", data, "--run", str(run)]
        done = subprocess.run(
            [*command, *overrides, *QUIET], capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(done.stderr.strip())
        lines = [
            json.loads(line)
            for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
        ]
    measured = lines[WARMUP:]
    step_s = statistics.median(line["step_time_s"] for line in measured)
    print(json.dumps({"step_s": step_s, "loss": measured[-1]["lm_loss"]}))


if __name__ == "__main__":
    main()
