"""A request is refused in one line before anything starts, and without torch."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from megatron_music.config import Recipe, load_recipe
from megatron_music.errors import CheckpointError, DataError, LayoutError, UsageError
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary, save_settings
from megatron_music.train.blend import Blend, parse_blend
from megatron_music.train.request import default_run, prepare
from megatron_music.train.run_dir import CheckpointMeta, RunDir, commit_checkpoint
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
    with commit_checkpoint(RunDir(run), CheckpointMeta(**(values | changes))):
        pass


@pytest.fixture
def copied(data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(data, tmp_path / "set"))


def test_a_new_run_starts_at_iteration_0(data: Path, tmp_path: Path) -> None:
    request = prepare(recipe(), data, tmp_path / "run")
    assert (request.start, request.start_iteration, request.is_finished) == (None, 0, False)
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_written_into_a_data_set(copied: Path) -> None:
    with pytest.raises(
        UsageError, match="set holds other files than those of a run; give another --run"
    ):
        prepare(recipe(), copied, copied)


def test_a_run_resumes_from_its_latest_checkpoint(data: Path, tmp_path: Path) -> None:
    checkpoint(tmp_path, 4)
    assert prepare(recipe(), data, tmp_path).start_iteration == 4
    checkpoint(tmp_path, 6)
    assert prepare(recipe(), data, tmp_path).is_finished


def test_a_run_is_named_after_its_data_and_recipe() -> None:
    assert default_run("tiny", Path("data/bach")) == Path("runs/bach-tiny")
    assert default_run("my/big.yaml", Path("data/bach/")) == Path("runs/bach-big")
    blend = parse_blend(["data/bach:2", "data/mine:1"])
    assert default_run("tiny", blend) == Path("runs/bach+mine-tiny")


def manifest(**told: object) -> Callable[[Path], object]:
    return lambda folder: (folder / "manifest.json").write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (shutil.rmtree, r"no data set in .*set; build one"),
        (lambda folder: (folder / "train.idx").unlink(), r"no .*train.idx; build"),
        (lambda folder: (folder / "train.bin").write_bytes(b""), "holds no document"),
        (manifest(vocabulary_hash="another"), "built with another vocabulary"),
        (manifest(files={"test.bin": {"bytes": 7}}), r"test\.bin is missing or not the"),
    ],
)
def test_data_that_are_not_what_was_built_are_refused(
    copied: Path, tmp_path: Path, spoil: Callable[[Path], object], told: str
) -> None:
    spoil(copied)
    with pytest.raises(DataError, match=told):
        prepare(recipe(), copied, tmp_path / "run")


def test_without_evaluation_no_validation_set_is_needed(copied: Path, tmp_path: Path) -> None:
    (copied / "valid.bin").unlink()
    assert not prepare(recipe("log.eval_interval=0"), copied, tmp_path / "run").evaluates
    with pytest.raises(DataError, match=r"valid\.bin"):
        prepare(recipe(), copied, tmp_path / "run")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("model.num_layers=4", r"model.num_layers=2 \(got 4\)"),
        ("parallel.use_distributed_optimizer=true", "use_distributed_optimizer=False"),
    ],
)
def test_a_checkpoint_of_another_form_is_refused(
    data: Path, tmp_path: Path, asked: str, told: str
) -> None:
    checkpoint(tmp_path, 2)
    with pytest.raises(CheckpointError, match=told):
        prepare(recipe(asked), data, tmp_path)


def test_a_checkpoint_of_another_vocabulary_is_refused(copied: Path, tmp_path: Path) -> None:
    checkpoint(tmp_path / "run", 2)
    save_settings(TokenizerSettings(steps_per_quarter=12), copied / "tokenizer")
    with pytest.raises(CheckpointError, match="another vocabulary"):
        prepare(recipe(), copied, tmp_path / "run")


def blend_of(*folders: tuple[Path, float]) -> Blend:
    return parse_blend([f"{folder}:{weight}" for folder, weight in folders])


@pytest.fixture
def pair(data: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Write two data sets that have manifests."""
    for name in "ab":
        shutil.copytree(data, tmp_path / name)
        (tmp_path / name / "manifest.json").write_text(json.dumps({"key": name}))
    return tmp_path / "a", tmp_path / "b"


def test_a_run_resumes_only_with_the_same_blend(pair: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = pair
    begun = blend_of((a, 0.7), (b, 0.3))
    checkpoint(tmp_path / "run", 2, data_hash=prepare(recipe(), begun, tmp_path / "new").data_hash)
    moved = Path(shutil.move(b, tmp_path / "moved"))
    same = blend_of((a, 7), (moved, 3))
    assert prepare(recipe(), same, tmp_path / "run").start_iteration == 2
    for other in (blend_of((a, 3), (moved, 7)), blend_of((moved, 3), (a, 7)), Blend.of(a)):
        with pytest.raises(CheckpointError, match=r"other data \(other folders, weights or order"):
            prepare(recipe(), other, tmp_path / "run")


def test_what_a_resume_changes_is_listed(data: Path, tmp_path: Path) -> None:
    checkpoint(tmp_path, 2)
    assert prepare(recipe("log.log_interval=3"), data, tmp_path).resume.changes == ()
    changed = prepare(recipe("train.seed=7", "train.lr=1e-3"), data, tmp_path).resume.changes
    assert changed == ("train.lr=0.001 (was 0.006)", "train.seed=7 (was 3)")


@pytest.fixture
def old(data: Path, tmp_path: Path) -> Path:
    """Write as much of a finished run as another begins from."""
    checkpoint(tmp_path / "old", 6)
    shutil.copytree(data / "tokenizer", tmp_path / "old" / "tokenizer")
    return tmp_path / "old"


def test_a_new_run_begins_with_the_weights_asked_for(data: Path, tmp_path: Path, old: Path) -> None:
    for asked in (old, old / "checkpoints" / "latest", old / "checkpoints" / "step_6"):
        resume = prepare(recipe(), data, tmp_path / "new", asked).resume
        assert resume.origin == old / "checkpoints" / "step_6"
        assert (resume.step, resume.iteration) == (None, 0)


def test_a_run_that_has_begun_remembers_whose_weights(
    data: Path, tmp_path: Path, old: Path
) -> None:
    run, origin = tmp_path / "run", old / "checkpoints" / "step_6"
    checkpoint(run, 2, origin=str(origin))
    shutil.rmtree(old / "checkpoints")
    for asked in (None, old, origin):
        resume = prepare(recipe(), data, run, asked).resume
        assert (resume.origin, resume.iteration) == (origin, 2)
    with pytest.raises(UsageError, match=r"begun with the weights of .*step_6.* leave it out"):
        prepare(recipe(), data, run, tmp_path / "another")


def test_a_run_that_began_by_itself_takes_no_weights(data: Path, tmp_path: Path, old: Path) -> None:
    checkpoint(tmp_path / "run", 2)
    with pytest.raises(UsageError, match="counts only at the start"):
        prepare(recipe(), data, tmp_path / "run", old)


def test_weights_of_another_shape_are_refused(data: Path, tmp_path: Path, old: Path) -> None:
    other = recipe("model.num_layers=4", "model.seq_length=64")
    told = r"model.num_layers=2 model.seq_length=128 \(got 4, 64\); give .* or another --from"
    with pytest.raises(CheckpointError, match=told):
        prepare(other, data, tmp_path / "new", old)


def test_weights_that_learned_other_tokens_are_refused(
    copied: Path, tmp_path: Path, old: Path
) -> None:
    save_settings(TokenizerSettings(bars=8), copied / "tokenizer")
    told = rf"with other meanings than these data \(by bars\).* --like {old}$"
    with pytest.raises(CheckpointError, match=told):
        prepare(recipe(), copied, tmp_path / "new", old)


def test_where_no_run_is_there_are_no_weights(data: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint in nowhere to begin from"):
        prepare(recipe(), data, tmp_path / "new", Path("nowhere"))


@pytest.mark.parametrize(
    ("asked", "told"),
    [("sequence_parallel=true", "sequence_parallel"),
     ("tensor_model_parallel_size=2", "cannot hold TP=2")],
)  # fmt: skip
def test_a_layout_that_cannot_be_is_refused(
    data: Path, tmp_path: Path, asked: str, told: str
) -> None:
    with pytest.raises(LayoutError, match=told):
        prepare(recipe(f"parallel.{asked}"), data, tmp_path)


def program(data: Path, run: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the program on six iterations; it fails if torch was loaded."""
    arguments = ["train", "tiny", "--data", str(data), "--run-dir", str(run), *SMALL]
    arguments += ["train.train_iters=6", *more]
    text = (
        f"import sys; sys.argv = ['megatron-music', *{arguments!r}]\n"
        "from megatron_music.cli.main import run\n"
        "try:\n    run()\n"
        "finally:\n    assert not {'torch', 'megatron'} & set(sys.modules)"
    )
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("reached", [6, 8])
def test_a_finished_run_says_so_without_loading_torch(
    data: Path, tmp_path: Path, reached: int
) -> None:
    run = tmp_path / "my run"
    checkpoint(run, reached)
    done = program(data, run)
    assert done.returncode == 0, done.stderr
    assert f"has reached iteration {reached}, and train.train_iters=6: nothing" in done.stderr
    assert "raise train.train_iters to train on" in done.stderr
    assert done.stderr.endswith(
        f"\nto compose with it: megatron-music export '{run}' -o '{run}/hf'\n"
    )
    assert "no effect" not in done.stderr
    changed = program(data, run, "train.lr=1e-3").stderr
    assert "without effect on a finished run: train.lr=0.001 (was 0.006)" in changed


def test_a_run_that_cannot_be_written_is_refused_before_torch_is_loaded(data: Path) -> None:
    done = program(data, Path("/proc/none/run"))
    assert done.returncode == 1
    # Where the start takes long, a line says what is waited for.
    assert done.stderr.splitlines()[-1] == (
        "error: /proc/none: No such file or directory; check the path"
    )
