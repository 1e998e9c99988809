"""launch/megatron_lm.sh with a real Megatron-LM clone: its pretrain_gpt.py trains on a CPU.

`make test-megatron-lm MEGATRON_LM=CLONE` runs this; docs/training.md says what the clone needs.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launch.lab import free_port
from tests.launch.scripts import ROOT
from tests.train.conftest import SMALL, write_data

CLONE = os.environ.get("TEST_MEGATRON_LM", "")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CLONE, reason="make test-megatron-lm MEGATRON_LM=CLONE runs it"),
]

ITERATIONS = 4
STAND_IN = """
import sys
from tests.reference.stock import main
main({clone!r}, *sys.argv[1:])
"""
OPTIONS = [
    "model.structural_inputs=[]",
    "train.precision=fp32",
    "train.transformer_impl=local",
    f"train.train_iters={ITERATIONS}",
    "log.eval_interval=2",
    "log.eval_iters=1",
    "log.save_interval=4",
]


def test_stock_megatron_trains_validates_and_saves_on_our_data(tmp_path: Path) -> None:
    data = write_data(tmp_path / "scales", {"train": 300, "valid": 40, "test": 40})
    stand_in = tmp_path / "clone"
    stand_in.mkdir()
    (stand_in / "pretrain_gpt.py").write_text(STAND_IN.format(clone=CLONE))
    (stand_in / "pyproject.toml").symlink_to(Path(CLONE) / "pyproject.toml")
    run = tmp_path / "run"
    settings = {
        "MEGATRON_LM": str(stand_in),
        "MUSIC_PYTHON": sys.executable,
        "MASTER_PORT": str(free_port()),
        "NPROC": "1",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "TORCHDYNAMO_DISABLE": "1",  # a CUDA build compiles for a device that is not there
        "PYTHONPATH": str(ROOT),
        # Megatron compiles its helpers by the python3 and the python3-config on the path.
        "PATH": os.pathsep.join(
            [str(Path(sys.executable).parent), f"{sys.base_prefix}/bin", os.environ["PATH"]]
        ),
    }
    words = ["tiny", "--data", str(data), "--run-dir", str(run), *SMALL, *OPTIONS]
    done = subprocess.run(
        [str(ROOT / "launch" / "megatron_lm.sh"), *words],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    found = re.findall(r"iteration +(\d+)/.*? lm loss: ([\d.E+-]+)", done.stdout)
    assert [int(iteration) for iteration, _ in found] == list(range(1, ITERATIONS + 1))
    assert float(found[-1][1]) < float(found[0][1])
    assert re.search(r"validation loss at iteration 4 .*lm loss value", done.stdout)
    assert (run / "megatron_lm" / "latest_checkpointed_iteration.txt").read_text() == "4"
