"""Every layout gives the losses of one process, and takes up another layout's checkpoint."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from megatron_music.train.backends import cpu
from tests.train.conftest import Log, launch, losses, read

TOLERANCE = 1e-5
"""Nats a token: rounding apart, a layout changes nothing."""

SIX = ["train.train_iters=6", "log.eval_interval=3", "log.save_interval=3"]
TP2, PP2 = "parallel.tensor_model_parallel_size=2", "parallel.pipeline_model_parallel_size=2"
DISTRIBUTED = "parallel.use_distributed_optimizer=true"
OVERLAPS = [
    DISTRIBUTED,
    "parallel.overlap_grad_reduce=true",
    "parallel.overlap_param_gather=true",
]

pytestmark = pytest.mark.slow
Train = Callable[..., Any]


@pytest.fixture(scope="session")
def one(tmp_path_factory: pytest.TempPathFactory, train: Train) -> Path:
    """Train six iterations in one process: what all else is held against."""
    run = tmp_path_factory.mktemp("runs") / "one"
    train(run, *SIX)
    return run


@pytest.fixture(scope="session")
def two(tmp_path_factory: pytest.TempPathFactory, train: Train) -> Path:
    """Train the same six iterations with TP=2."""
    run = tmp_path_factory.mktemp("runs") / "two"
    train(run, *SIX, TP2, processes=2)
    return run


def rewound(run: Path, iteration: int, to: Path) -> Path:
    """Copy a run as it was when it saved an iteration; its log still goes to the end."""
    shutil.copytree(run, to, symlinks=True)
    for link in ("latest", "best"):
        (to / "checkpoints" / link).unlink()
    for step in (to / "checkpoints").glob("step_*"):
        if step.name != f"step_{iteration}":
            shutil.rmtree(step)
    (to / "checkpoints" / "latest").symlink_to(f"step_{iteration}")
    return to


def figures(log: Log) -> dict[tuple[int, str], float]:
    """Return what must not depend on the layout."""
    names = ("lm_loss", "validation_loss", "learning_rate")
    return {(line["iteration"], name): line[name] for line in log for name in names if name in line}


@pytest.mark.parametrize(("gpus", "runs"), [(0, True), (1, False), (2, True), (8, True)])
def test_processes_that_cannot_have_a_gpu_each_are_skipped_with_a_reason(
    gpus: int, runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else NCCL ends them: two processes on one GPU cannot meet."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    if runs:
        assert "--nproc-per-node" in launch(2, "train")
    else:
        with pytest.raises(pytest.skip.Exception, match="2 processes need as many GPUs, or none"):
            launch(2, "train")
    assert "--nproc-per-node" in launch(2, "train", on_cpu=True)


def test_the_reference_run_learns(one: Path) -> None:
    found = losses(one)
    assert list(found) == [1, 2, 3, 4, 5, 6]
    assert found[6] < found[1] - 0.1


def test_tensor_parallel_equals_one_process(one: Path, two: Path) -> None:
    assert figures(read(two)) == pytest.approx(figures(read(one)), abs=TOLERANCE)


@pytest.mark.parametrize(
    ("processes", "overrides"),
    [(2, []), (4, [TP2])],
    ids=["DP=2", "TP=2 x DP=2"],
)
def test_data_parallel_equals_one_process(
    one: Path, train: Train, tmp_path: Path, processes: int, overrides: list[str]
) -> None:
    train(tmp_path / "run", *SIX, *overrides, processes=processes)
    assert figures(read(tmp_path / "run")) == pytest.approx(figures(read(one)), abs=TOLERANCE)


@pytest.mark.parametrize(("processes", "overrides"), [(2, [PP2]), (2, [TP2])], ids=["PP=2", "TP=2"])
def test_one_process_resumes_in_another_layout(
    one: Path, train: Train, tmp_path: Path, processes: int, overrides: list[str]
) -> None:
    run = rewound(one, 3, tmp_path / "run")
    done = train(run, *SIX, *overrides, processes=processes)
    assert "resumes after iteration 3" in done.stderr
    assert figures(read(run)) == pytest.approx(figures(read(one)), abs=TOLERANCE)


def test_tensor_parallel_resumes_in_one_process(
    one: Path, two: Path, train: Train, tmp_path: Path
) -> None:
    run = rewound(two, 3, tmp_path / "run")
    train(run, *SIX)
    assert figures(read(run)) == pytest.approx(figures(read(one)), abs=TOLERANCE)


@pytest.mark.parametrize(("processes", "precision"), [(1, "bf16"), (2, "fp32")])
def test_a_distributed_optimizer_equals_one_process_and_resumes_exactly(
    one: Path, train: Train, tmp_path: Path, processes: int, precision: str
) -> None:
    if precision == "bf16" and not cpu().has_bf16:
        pytest.skip("this CPU does not compute in bf16")
    half = [*SIX, DISTRIBUTED, f"train.precision={precision}"]
    train(tmp_path / "whole", *half, processes=processes)
    run = rewound(tmp_path / "whole", 3, tmp_path / "run")
    train(run, *half, processes=processes)
    whole = figures(read(tmp_path / "whole"))
    assert figures(read(run)) == whole
    if precision == "fp32":
        assert whole == pytest.approx(figures(read(one)), abs=TOLERANCE)


def test_overlapping_communication_changes_nothing(one: Path, train: Train, tmp_path: Path) -> None:
    train(tmp_path / "run", *SIX, *OVERLAPS, processes=2)
    assert figures(read(tmp_path / "run")) == pytest.approx(figures(read(one)), abs=TOLERANCE)
    train(tmp_path / "run", *SIX, *OVERLAPS, "train.train_iters=8", processes=2)
    assert max(losses(tmp_path / "run")) == 8


def test_recomputation_changes_nothing(one: Path, train: Train, tmp_path: Path) -> None:
    train(tmp_path / "run", *SIX, "train.recompute=full")
    assert figures(read(tmp_path / "run")) == figures(read(one))
