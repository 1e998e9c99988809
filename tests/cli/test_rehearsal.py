"""`train --rehearse` and `profile sweep --rehearse`, told to a person and to a program."""

import json
import re
from pathlib import Path

import pytest

from megatron_music.cli.estimate import show_rehearsal
from megatron_music.config import load_recipe
from tests.cli.program import Program

H100 = "NVIDIA H100 80GB HBM3"
DATA_PARALLEL = ["train.micro_batch_size=1", "train.global_batch_size=8"]
LAYOUT = [
    *DATA_PARALLEL,
    "model.num_layers=3",
    "parallel.tensor_model_parallel_size=2",
    "parallel.pipeline_model_parallel_size=3",
]
SWEEP = """
recipe: tiny
fixed: {model.seq_length: 128, train.global_batch_size: 8}
grid:
  processes: [2, 4]
  train.micro_batch_size: [1, 2]
"""


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put back what the command hides from torch."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_a_rehearsal_shows_memory_traffic_time_and_assumptions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_rehearsal(load_recipe("tiny", LAYOUT), None, H100, 12, ["network_gb_s=25"], False)
    told = capsys.readouterr().out
    assert f"12 x {H100}: TP=2 PP=3 DP=2, 4 micro batches of 1, bf16" in told
    assert "6 distinct ranks built and stepped" in told
    assert re.search(r"rank +stage +data +weights +gradients +optimizer +activations +peak", told)
    for group, kind in (("tensor", "all_gather"), ("pipeline", "send"), ("data", "all_reduce")):
        assert re.search(rf"{group} +{kind} +\d", told)
    assert "bubble" in told
    assert "network_gb_s=25" in told
    assert "stood in for: Transformer Engine" in told


def test_a_program_gets_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    show_rehearsal(load_recipe("tiny", DATA_PARALLEL), None, H100, 2, [], True)
    told = json.loads(capsys.readouterr().out)
    first, last = told["ranks"]
    assert (first["rank"], last["rank"], told["processes"]) == (0, 1, 2)
    memory = first["memory_bytes"]
    assert memory["total"] == sum(size for part, size in memory.items() if part != "total")
    (reduced,) = [one for one in first["transfers"] if one["group"] == "data"]
    assert (reduced["kind"], reduced["size_bytes"]) == ("all_reduce", memory["gradients"])
    step = told["step"]
    parts = ("compute_s", "tensor_s", "pipeline_s", "data_s", "bubble_s")
    assert step["step_s"] == pytest.approx(sum(step[part] for part in parts))


@pytest.mark.slow
def test_a_sweep_is_ordered_without_a_gpu(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP)
    words = ["profile", "sweep", str(path), "--rehearse", "--device", H100, "--gpus", "2"]
    lines = program(*words).stdout.splitlines()
    assert [line[:2] for line in lines] == ["1.", "2.", "- ", "- "]
    assert "batch 2 of 8" in lines[0]
    assert "4 processes need as many GPUs; this machine has 2" in lines[2]
