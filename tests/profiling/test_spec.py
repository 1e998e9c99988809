"""What cannot run is known before it is tried: by layout, by precision, by memory."""

from pathlib import Path

import pytest

from megatron_music.profiling.sweep import run
from megatron_music.profiling.sweep.hardware import Gpu, Machine
from megatron_music.profiling.sweep.results import read_rows
from megatron_music.profiling.sweep.spec import (
    MARGIN,
    Configuration,
    Sweep,
    estimate_memory_needed,
    expand,
    infeasible_reason,
)
from tests.profiling.test_sweep import Write, write

__all__ = ["write"]

GIB = 1 << 30
SIXTEEN_V100 = Machine(
    tuple(Gpu("Tesla V100-SXM3-32GB", f"GPU-{at}", 32 * GIB, (7, 0)) for at in range(16)), 96
)


def one(processes: int = 1, **given: object) -> Configuration:
    """A configuration of the large model of the profiles, whatever the grid says."""
    grid = {"processes": [processes], "train.precision": ["fp16"]}
    grid |= {key.replace("__", "."): [value] for key, value in given.items()}
    (found,) = expand(Sweep(recipe="profile-large", grid=grid), 16)
    return found


def machine(gib: float) -> Machine:
    return Machine((Gpu("NVIDIA X1", "GPU-0", round(gib * GIB), (9, 0)),), 8)


def test_what_needs_more_memory_than_there_is_is_skipped_with_the_parts() -> None:
    reason = str(infeasible_reason(one(16, train__micro_batch_size=4), SIXTEEN_V100))
    needed = estimate_memory_needed(one(16, train__micro_batch_size=4)).total / GIB
    assert f"needs about {needed:.1f} GiB of 32.0 a process (weights 2.3" in reason
    assert "smaller micro batch" in reason


def test_the_same_model_fits_with_recomputation_or_more_ranks() -> None:
    assert (
        infeasible_reason(one(16, train__micro_batch_size=4, train__recompute="full"), SIXTEEN_V100)
        is None
    )
    split = {"parallel__tensor_model_parallel_size": 4}
    assert infeasible_reason(one(16, train__micro_batch_size=4, **split), SIXTEEN_V100) is None


def test_what_may_just_fit_is_tried() -> None:
    needed = estimate_memory_needed(one()).total / GIB
    assert infeasible_reason(one(), machine(needed / MARGIN + 0.01)) is None
    assert infeasible_reason(one(), machine(needed / MARGIN - 0.01)) is not None
    assert (
        infeasible_reason(one(), Machine((Gpu("NVIDIA X1", "GPU-0"),), 8)) is None
    )  # nothing is known of it


def test_a_precision_that_the_gpu_lacks_is_skipped() -> None:
    reason = infeasible_reason(one(train__precision="bf16"), SIXTEEN_V100)
    assert reason == "train.precision=bf16 is not for Tesla V100-SXM3-32GB; it has fp16, fp32"


def test_processes_share_the_memory_of_a_cpu() -> None:
    cpu = Machine((), 8, memory_bytes=64 * GIB)
    assert (cpu.room_bytes(1), cpu.room_bytes(4)) == (64 * GIB, 16 * GIB)
    (alone,) = expand(Sweep(recipe="profile-large", grid={"train.precision": ["fp32"]}))
    assert "of 8.0 a process" in str(infeasible_reason(alone, Machine((), 8, memory_bytes=8 * GIB)))


def test_sequence_parallel_left_to_the_engine_counts_as_on() -> None:
    """It takes less: what it would save is no reason to skip."""
    split = {"parallel__tensor_model_parallel_size": 4}
    auto, off = (
        estimate_memory_needed(one(4, **split, parallel__sequence_parallel=value)).activations
        for value in ("auto", False)
    )
    assert auto < off


def test_a_skipped_row_says_why_and_what_was_estimated(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "detect_hardware", lambda: machine(1))
    path = write({"train.precision": ["fp16"]}, recipe="profile-large", fixed={})
    assert run.run_sweep(path, tmp_path / "out") == (0, 0)
    (row,) = read_rows(tmp_path / "out")
    assert (row.outcome, row.estimated_bytes) == (
        "skipped",
        round(estimate_memory_needed(one()).total),
    )
    assert "of 1.0 a process" in row.reason


def test_the_recipes_own_choice_of_precision_is_the_devices_best() -> None:
    assert (SIXTEEN_V100.precisions[0], machine(80).precisions[0]) == ("fp16", "bf16")
    (found,) = expand(Sweep(recipe="profile-large", grid={}), 1, SIXTEEN_V100.precisions[0])
    assert found.recipe.train.precision == "fp16"
