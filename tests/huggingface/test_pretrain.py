"""Hugging Face's Trainer goes the engine's way, and its runs are runs like the engine's."""

import json
import shutil
import signal
import sys
from pathlib import Path

import pytest

from megatron_music.config import load_recipe
from megatron_music.errors import CheckpointError, LayoutError, TrainingError
from megatron_music.huggingface.pretrain import check_layout, pretrain
from megatron_music.train.request import TrainingRequest, prepare
from megatron_music.train.signals import StoppedError
from tests.train.conftest import SMALL, execute, launch, losses, need_devices, read

pytest.importorskip("torch")
pytest.importorskip("megatron.core")
pytest.importorskip("accelerate")

SHORT = [
    "train.train_iters=4",
    "train.lr_warmup_iters=2",
    "log.eval_interval=2",
    "log.eval_iters=2",
    "log.save_interval=2",
    "log.tensorboard=false",
]
DROPOUT = ["model.hidden_dropout=0.1", "model.attention_dropout=0.1"]
ENOUGH: dict[str, dict[str, float]] = {
    "lm_loss": {"abs": 1e-4},
    "validation_loss": {"abs": 1e-4},
    "grad_norm": {"rel": 1e-3},
    "learning_rate": {"rel": 1e-9},
}
"""How near the engine's figures the Trainer's have to be."""

LAUNCHER = Path(__file__).parents[2] / "launch" / "huggingface.py"
EXPORTED = {
    "README.md",
    "config.json",
    "generation_config.json",
    "megatron_music.json",
    "mmmtrack.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}

pytestmark = pytest.mark.filterwarnings("ignore")


def request(data: Path, run: Path, *overrides: str) -> TrainingRequest:
    return prepare(load_recipe("tiny", [*SMALL, *SHORT, *overrides]), data, run)


def quietly(_: str) -> None:
    pass


def latest(run: Path) -> str:
    return (run / "checkpoints" / "latest").resolve().name


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four iterations, four micro batches each, without dropout."""
    folder = tmp_path_factory.mktemp("runs") / "trainer"
    pretrain(request(data, folder), quietly)
    return folder


def test_weights_samples_rates_and_losses_are_the_engines(
    run: Path, data: Path, tmp_path: Path
) -> None:
    from megatron_music.train import trainer

    trainer.train(request(data, tmp_path), quietly)
    ours, theirs = read(tmp_path), read(run)
    assert [line["iteration"] for line in theirs] == [0, 1, 2, 3, 4]
    for ours_line, theirs_line in zip(ours, theirs, strict=True):
        assert ours_line.keys() == theirs_line.keys()
        same = ENOUGH.keys() & ours_line.keys()
        assert same
        for key in same:
            assert theirs_line[key] == pytest.approx(ours_line[key], **ENOUGH[key])


def test_the_run_folder_is_like_the_engines(run: Path) -> None:
    assert {path.name for path in (run / "checkpoints").iterdir()} == {
        "latest",
        "best",
        "step_2",
        "step_4",
    }
    assert latest(run) == "step_4"
    described = json.loads((run / "environment.json").read_text())
    assert "Hugging Face" in described["attention"]
    assert {"transformers", "accelerate"} <= described["versions"].keys()


def test_a_resumed_run_ends_as_if_it_had_never_stopped(data: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    pretrain(request(data, whole, *DROPOUT), quietly)
    shutil.copytree(whole, cut, symlinks=True)
    shutil.rmtree(cut / "checkpoints" / "step_4")
    (cut / "checkpoints" / "checkpoint-4").mkdir()  # what a kill while saving leaves
    pretrain(request(data, cut, *DROPOUT), quietly)
    assert losses(cut) == losses(whole)
    assert latest(cut) == "step_4"
    assert not (cut / "checkpoints" / "checkpoint-4").exists()


def test_a_signal_stops_after_the_iteration_with_all_saved(data: Path, tmp_path: Path) -> None:
    def stop(line: str) -> None:
        if line.startswith("iteration 2/"):
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(StoppedError, match="stopped by SIGTERM after iteration 3, all saved"):
        pretrain(request(data, tmp_path), stop)
    assert latest(tmp_path) == "step_3"
    pretrain(request(data, tmp_path), quietly)
    assert latest(tmp_path) == "step_4"


def test_a_loss_that_leaves_the_ground_stops_the_run(data: Path, tmp_path: Path) -> None:
    wild = ["train.lr=30", "train.clip_grad=0", "train.lr_warmup_iters=4", "train.train_iters=12"]
    with pytest.raises(TrainingError, match=r"in a row at iteration \d+; the same command resumes"):
        pretrain(request(data, tmp_path, *wild), quietly)


def test_neither_takes_the_others_checkpoints_for_its_own(run: Path, data: Path) -> None:
    from megatron_music.train.pretrain import pretrain as pretrain_by_megatron

    longer = "train.train_iters=6"
    with pytest.raises(CheckpointError, match="saved by Hugging Face's Trainer; resume with"):
        pretrain_by_megatron(request(data, run, longer), quietly)
    with pytest.raises(CheckpointError, match="give another --from"):
        prepare(request(data, run).recipe, data, run / "next", run)
    (run / "checkpoints" / "step_4" / "trainer_state.json").rename(run / "elsewhere")
    with pytest.raises(CheckpointError, match="was not saved by Hugging Face's Trainer"):
        pretrain(request(data, run, longer), quietly)
    asked = ["tiny", "--data", str(data), "--run-dir", str(run), *SMALL, *SHORT]
    done = execute(sys.executable, str(LAUNCHER), *asked)  # nothing is left to train
    assert "was not saved by Hugging Face's Trainer" in done.stderr
    assert not (run / "hf").exists()
    (run / "elsewhere").rename(run / "checkpoints" / "step_4" / "trainer_state.json")


@pytest.mark.parametrize(
    ("name", "lacks"),
    [
        ("optimizer.pt", False),
        ("optimizer.pt", True),
        ("model.safetensors", False),
        ("trainer_state.json", False),
    ],
)
def test_a_damaged_checkpoint_is_named(
    run: Path, data: Path, tmp_path: Path, name: str, lacks: bool
) -> None:
    damaged = shutil.copytree(run, tmp_path / "run", symlinks=True)
    file = damaged / "checkpoints" / "step_4" / name
    file.unlink() if lacks else file.write_bytes(b"hi")
    with pytest.raises(CheckpointError, match=r"cannot load .*step_4: .*; remove it to resume"):
        pretrain(request(data, damaged, "train.train_iters=6"), quietly)


def test_other_layouts_than_data_parallel_are_refused() -> None:
    check_layout(load_recipe("article"))
    recipe = load_recipe(
        "tiny", ["train.optimizer=adam", "parallel.use_distributed_optimizer=true"]
    )
    with pytest.raises(LayoutError, match=r"got parallel\.use_distributed_optimizer=True"):
        check_layout(recipe)


@pytest.mark.slow
def test_the_launcher_trains_and_resumes_and_its_model_composes(data: Path, tmp_path: Path) -> None:
    run, music = tmp_path / "run", tmp_path / "music"
    words = ["tiny", "--data", str(data), "--run-dir", str(run), *SMALL, *SHORT]
    for wanted, iterations in (("begins with new weights", 2), ("resumes after iteration 2", 4)):
        done = execute(sys.executable, str(LAUNCHER), *words, f"train.train_iters={iterations}")
        assert done.returncode == 0, done.stderr
        assert wanted in done.stderr
        assert done.stdout == f"{run / 'hf'}\n"
    assert {path.name for path in (run / "hf").iterdir()} == EXPORTED
    asked = ["-n", "1", "--bars", "1", "--instrument", "piano"]
    composed = execute(*launch(1, "sample", str(run / "hf"), "-o", str(music), *asked))
    assert composed.returncode == 0, composed.stderr
    assert list(music.glob("*.mid"))


@pytest.mark.slow
def test_two_ranks_have_the_losses_of_one(run: Path, data: Path, tmp_path: Path) -> None:
    need_devices(2)
    runner = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    words = ["tiny", "--data", str(data), "--run-dir", str(tmp_path / "run"), *SMALL, *SHORT]
    done = execute(*runner, "--nproc-per-node", "2", str(LAUNCHER), *words)
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "run") == pytest.approx(losses(run), abs=1e-4)


def test_a_mistake_is_one_line() -> None:
    done = execute(sys.executable, str(LAUNCHER), "tiny", "--data", "nowhere")
    assert done.returncode == 1
    assert done.stderr.startswith("error: no data set in nowhere; build one with")
    assert done.stderr.count("\n") == 1
