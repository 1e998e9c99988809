"""The losses of 20 iterations of `tiny` on made-up data, for each version of megatron-core.

`python -m tests.golden` writes those of the installed version into tests/assets/golden_losses.json.
The file holds the recipe too: a change of `tiny.yaml` changes nothing here, a change of numerics
does.
"""

import json
import os
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from megatron_music.config import load_recipe
from tests import warm
from tests.train.conftest import losses, write_data

FILE = Path(__file__).with_name("assets") / "golden_losses.json"
OVERRIDES = [
    "train.train_iters=20",
    "train.lr_warmup_iters=5",
    "train.precision=fp32",
    "model.seq_length=256",
    "log.log_interval=1",
    "log.eval_interval=0",
    "log.save_interval=0",
    "log.sample_interval=0",
    "log.save_last=false",
    "log.tensorboard=false",
]


def version() -> str:
    """Return the version of megatron-core that is installed."""
    return metadata.version("megatron-core")


def stored() -> dict[str, Any]:
    """Return what the file holds: `recipe`, and `losses` by version."""
    if not FILE.exists():
        return {"recipe": load_recipe("tiny", OVERRIDES).model_dump(mode="json"), "losses": {}}
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def trained(recipe: dict[str, Any], folder: Path) -> list[float]:
    """Train a recipe on made-up data with one thread; return the loss of each iteration."""
    data = write_data(folder / "data", {"train": 100, "valid": 2, "test": 2})
    (folder / "golden.yaml").write_text(json.dumps(recipe))
    words = [
        "train",
        str(folder / "golden.yaml"),
        "--data",
        str(data),
        "--run",
        str(folder / "run"),
    ]
    done = warm.run(
        [sys.executable, "-m", "megatron_music", *words],
        environment=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        timeout_s=900,
    )
    assert done.returncode == 0, done.stderr
    return list(losses(folder / "run").values())


def main() -> None:
    """Write the losses of the installed version."""
    golden = stored()
    with tempfile.TemporaryDirectory() as folder:
        found = trained(golden["recipe"], Path(folder))
    golden["losses"][version()] = [round(loss, 5) for loss in found]
    golden["losses"] = dict(sorted(golden["losses"].items()))
    text = json.dumps(golden, indent=1)
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text + "\n", encoding="utf-8")
    print(f"{FILE}: megatron-core {version()}, from {found[0]:.4f} to {found[-1]:.4f}")


if __name__ == "__main__":
    main()
