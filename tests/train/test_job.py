"""A request is refused in one line before anything starts, and without torch."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from megatron_music.config import Recipe, load_recipe
from megatron_music.errors import CheckpointError, DataError, LayoutError
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary, save_settings
from megatron_music.train.folder import CheckpointMeta, RunFolder, publish
from megatron_music.train.job import default_run, prepare
from tests.train.conftest import SMALL


def recipe(*overrides: str) -> Recipe:
    return load_recipe("tiny", [*SMALL, "train.train_iters=6", *overrides])


def checkpoint(run: Path, iteration: int, **changes: Any) -> None:
    values: dict[str, Any] = {
        "iteration": iteration,
        "recipe": recipe().model_dump(),
        "vocabulary_hash": Vocabulary(TokenizerSettings()).hash,
        "validation_loss": None,
        "world_size": 1,
        "versions": {},
    }
    with publish(RunFolder(run), CheckpointMeta(**(values | changes))):
        pass


@pytest.fixture
def copied(data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(data, tmp_path / "set"))


def test_a_new_run_starts_at_iteration_0(data: Path, tmp_path: Path) -> None:
    job = prepare(recipe(), data, tmp_path / "run")
    assert (job.start, job.start_iteration, job.is_finished) == (None, 0, False)
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_from_its_latest_checkpoint(data: Path, tmp_path: Path) -> None:
    checkpoint(tmp_path, 4)
    assert prepare(recipe(), data, tmp_path).start_iteration == 4
    checkpoint(tmp_path, 6)
    assert prepare(recipe(), data, tmp_path).is_finished


def test_a_run_is_named_after_data_and_recipe() -> None:
    assert default_run("tiny", Path("data/bach")) == Path("runs/bach-tiny")
    assert default_run("my/big.yaml", Path("data/bach/")) == Path("runs/bach-big")


def test_a_missing_data_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data set in .*nowhere; build one"):
        prepare(recipe(), tmp_path / "nowhere", tmp_path / "run")


def test_a_missing_split_is_named(copied: Path, tmp_path: Path) -> None:
    (copied / "train.idx").unlink()
    with pytest.raises(DataError, match=r"no .*train.idx; build"):
        prepare(recipe(), copied, tmp_path / "run")


def test_too_little_data_for_one_sample_is_counted(copied: Path, tmp_path: Path) -> None:
    (copied / "train.bin").write_bytes(bytes(2 * 128))
    with pytest.raises(DataError, match="holds 128 tokens, fewer than one sample"):
        prepare(recipe(), copied, tmp_path / "run")


def test_without_evaluation_no_validation_set_is_needed(copied: Path, tmp_path: Path) -> None:
    (copied / "valid.bin").unlink()
    assert not prepare(recipe("log.eval_interval=0"), copied, tmp_path / "run").evaluates
    with pytest.raises(DataError, match=r"valid\.bin"):
        prepare(recipe(), copied, tmp_path / "run")


def test_data_of_another_vocabulary_than_its_tokenizer_is_refused(
    copied: Path, tmp_path: Path
) -> None:
    (copied / "manifest.json").write_text(json.dumps({"vocabulary_hash": "another"}))
    with pytest.raises(DataError, match="built with another vocabulary"):
        prepare(recipe(), copied, tmp_path / "run")


def test_a_file_of_another_size_than_in_the_manifest_is_refused(
    copied: Path, tmp_path: Path
) -> None:
    size = (copied / "test.bin").stat().st_size if (copied / "test.bin").exists() else 7
    files = {"test.bin": {"bytes": size + 2}}
    (copied / "manifest.json").write_text(json.dumps({"files": files}))
    with pytest.raises(DataError, match=r"test\.bin is missing or not the"):
        prepare(recipe(), copied, tmp_path / "run")


def test_a_checkpoint_of_another_shape_is_refused(data: Path, tmp_path: Path) -> None:
    checkpoint(tmp_path, 2)
    with pytest.raises(CheckpointError, match=r"model.num_layers=2 \(got 4\)"):
        prepare(recipe("model.num_layers=4"), data, tmp_path)


def test_a_checkpoint_of_another_optimizer_layout_is_refused(data: Path, tmp_path: Path) -> None:
    checkpoint(tmp_path, 2)
    with pytest.raises(CheckpointError, match="use_distributed_optimizer=False"):
        prepare(recipe("parallel.use_distributed_optimizer=true"), data, tmp_path)


def test_a_checkpoint_of_another_vocabulary_is_refused(copied: Path, tmp_path: Path) -> None:
    checkpoint(tmp_path / "run", 2)
    save_settings(TokenizerSettings(steps_per_quarter=12), copied / "tokenizer")
    with pytest.raises(CheckpointError, match="another vocabulary"):
        prepare(recipe(), copied, tmp_path / "run")


def test_sequence_parallel_without_tensor_parallel_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="sequence_parallel"):
        prepare(recipe("parallel.sequence_parallel=true"), data, tmp_path)


def test_a_layout_that_the_processes_cannot_hold_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="cannot hold TP=2"):
        prepare(recipe("parallel.tensor_model_parallel_size=2"), data, tmp_path)


def test_a_finished_run_says_so_without_loading_torch(data: Path, tmp_path: Path) -> None:
    checkpoint(tmp_path, 6)
    arguments = ["train", "tiny", "--data", str(data), "--run", str(tmp_path), *SMALL]
    program = (
        f"import sys; sys.argv = ['megatron-music', *{arguments!r}, 'train.train_iters=6']\n"
        "from megatron_music.cli.main import app\n"
        "app(standalone_mode=False)\n"
        "assert not {'torch', 'megatron'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "has reached iteration 6" in done.stderr
    assert "raise train.train_iters to go on" in done.stderr
