"""A run that begins with another's weights: they are those, and all else is new."""

import json
import shutil
from pathlib import Path

import pytest

from megatron_music.config import load_recipe
from megatron_music.train.backends import cpu
from megatron_music.train.blend import Blend, parse_blend
from megatron_music.train.request import prepare
from tests.train.conftest import SMALL, execute, launch, losses, read, write_data

pytest.importorskip("torch")
pytest.importorskip("megatron.core")

SHORT = [
    "train.train_iters=8",
    "train.lr_warmup_iters=2",
    "log.save_interval=4",
    "log.eval_interval=4",
    "log.tensorboard=false",
]
PRECISIONS = ["fp32", "bf16"] if cpu().has_bf16 else ["fp32"]

pytestmark = pytest.mark.filterwarnings("ignore")


def go(data: Path | Blend, run: Path, *overrides: str, origin: Path | None = None) -> list[str]:
    """Train in this process; return what was said."""
    from megatron_music.train import trainer

    said: list[str] = []
    request = prepare(load_recipe("tiny", [*SMALL, *SHORT, *overrides]), data, run, origin)
    trainer.train(request, said.append)
    return said


def validation(run: Path) -> list[float]:
    return [entry["validation_loss"] for entry in read(run) if "validation_loss" in entry]


@pytest.fixture(scope="module", params=PRECISIONS)
def precision(request: pytest.FixtureRequest) -> str:
    return f"train.precision={request.param}"


@pytest.fixture(scope="module")
def old(data: Path, tmp_path_factory: pytest.TempPathFactory, precision: str) -> Path:
    """Train the run whose weights others begin with."""
    run = tmp_path_factory.mktemp("runs") / "old"
    go(data, run, precision)
    return run


@pytest.fixture(scope="module")
def blend(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Blend:
    """Blend the old data with new, of other pitches."""
    new = tmp_path_factory.mktemp("sets") / "new"
    write_data(new, {"train": 50, "valid": 30}, 88, 100)
    return parse_blend([f"{data}:0.7", f"{new}:0.3"])


@pytest.mark.parametrize("distributed", ["false", "true"])
def test_it_begins_where_the_other_ended_and_anew(
    data: Path, tmp_path: Path, old: Path, precision: str, distributed: str
) -> None:
    optimizer = f"parallel.use_distributed_optimizer={distributed}"
    still = ["train.lr=1e-9", "train.min_lr=0", optimizer]
    said = go(data, tmp_path / "new", precision, *still, origin=old)
    assert f"begins with the weights of {old.resolve() / 'checkpoints' / 'step_8'}: " in said[0]
    assert read(tmp_path / "new")[0]["iteration"] == 0
    first, *later = validation(tmp_path / "new")
    assert first == validation(old)[-1]
    # With hardly any rate it stays there: the optimizer holds the same weights, and no moments.
    assert later == pytest.approx([first] * 2, abs=2e-3)
    rates = [entry["learning_rate"] for entry in read(tmp_path / "new")[1:]]
    assert rates[:2] == pytest.approx([5e-10, 1e-9])


def test_it_resumes_from_its_own_checkpoint_without_the_other_run(
    tmp_path: Path, old: Path, blend: Blend, precision: str
) -> None:
    other = Path(shutil.copytree(old, tmp_path / "old", symlinks=True))
    go(blend, tmp_path / "whole", precision, origin=other)
    figures = losses(tmp_path / "whole"), validation(tmp_path / "whole")
    latest = tmp_path / "whole" / "checkpoints" / "latest"
    shutil.rmtree(latest.resolve())
    shutil.rmtree(other)
    said = go(blend, tmp_path / "whole", precision, origin=other)
    assert "resumes after iteration 4: " in said[0]
    recorded = json.loads((tmp_path / "whole" / "environment.json").read_text())
    assert recorded["from"] == str(other / "checkpoints" / "step_8")
    shares = {str(folder): share for folder, share in zip(blend.folders, (0.7, 0.3), strict=True)}
    assert recorded["data"] == pytest.approx(shares)
    assert (losses(tmp_path / "whole"), validation(tmp_path / "whole")) == figures


def test_changes_of_a_resumed_run_are_shown_first(
    data: Path, tmp_path: Path, old: Path, precision: str
) -> None:
    run = Path(shutil.copytree(old, tmp_path / "run", symlinks=True))
    said = go(data, run, precision, "train.train_iters=9", "train.seed=4")
    told = "resumes after iteration 8 with train.train_iters=9 (was 8), train.seed=4 (was 3): "
    assert told in said[0]


def test_a_plain_run_gives_its_rows_to_a_run_with_structural_inputs(
    data: Path, tmp_path: Path
) -> None:
    from megatron_music.train import distributed
    from megatron_music.train.checkpoint import load_weights
    from megatron_music.train.model import build_model
    from megatron_music.train.optimizer import build_train_state

    name = "embedding.position_embeddings.weight"
    go(data, tmp_path / "old", "model.structural_inputs=[]", "train.train_iters=1")
    recipe = load_recipe("tiny", [*SMALL, *SHORT, "train.seed=8"])
    request = prepare(recipe, data, tmp_path / "new", tmp_path / "old")
    with distributed.start(recipe, on_cpu=True) as context:
        train_state = build_train_state(
            recipe, build_model(recipe, request.vocabulary, context), context
        )
        drawn = train_state.model.state_dict()[name].clone()
        load_weights(tmp_path / "old" / "checkpoints" / "step_1", train_state)
        table = train_state.model.state_dict()[name]
    positions = recipe.model.seq_length
    assert len(table) > positions
    assert not (table[:positions] == drawn[:positions]).all(1).any()
    assert (table[positions:] == drawn[positions:]).all()


@pytest.mark.slow
def test_a_blend_and_foreign_weights_are_the_same_in_another_layout(
    tmp_path: Path, old: Path, blend: Blend, precision: str
) -> None:
    if precision != "train.precision=fp32":
        pytest.skip("rounding differs between layouts in bf16")
    go(blend, tmp_path / "one", precision, origin=old)
    parts = zip(blend.folders, blend.shares, strict=True)
    words = [word for folder, share in parts for word in ("--data", f"{folder}:{share}")]
    layout = ["parallel.tensor_model_parallel_size=2", precision, *SMALL, *SHORT]
    paths = ["--run-dir", str(tmp_path / "two"), "--from", str(old)]
    done = execute(*launch(2, "train", "tiny", *words, *paths, *layout))
    assert done.returncode == 0, done.stderr
    one, two = tmp_path / "one", tmp_path / "two"
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    assert validation(two) == pytest.approx(validation(one), abs=1e-5)
