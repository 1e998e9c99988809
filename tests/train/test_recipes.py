"""Every recipe that comes with the package, scaled down, trains for two steps on the CPU."""

from pathlib import Path

import pytest

from megatron_music.config import load_recipe, recipe_names
from megatron_music.train.request import prepare
from tests.train.conftest import read

pytest.importorskip("torch")
pytest.importorskip("megatron.core")

SCALED_DOWN = [
    "model.seq_length=128",
    "train.train_iters=2",
    "train.micro_batch_size=1",
    "train.global_batch_size=2",
    "log.log_interval=1",
    "log.eval_iters=1",
    "log.sample_interval=0",
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_trains(name: str, data: Path, tmp_path: Path) -> None:
    from megatron_music.train.trainer import train

    depth = min(2, load_recipe(name).model.num_layers)
    recipe = load_recipe(name, SCALED_DOWN, depth=depth)
    assert recipe.model.hidden_size <= 256, "too large for a test"
    train(prepare(recipe, data, tmp_path / "run"), lambda _: None)
    first, last = [entry["lm_loss"] for entry in read(tmp_path / "run") if "lm_loss" in entry]
    assert last < first < 7
