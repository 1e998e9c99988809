"""`megatron-music profile nsight`, as a user runs it."""

import json
from pathlib import Path

import pytest
import yaml

from megatron_music.config import load_recipe
from tests.cli.program import Program
from tests.profiling.capture import GEMM, NCCL, Capture


def example(folder: Path) -> Path:
    capture = Capture()
    for start in (0, 100, 200):
        capture.range(f"iteration {start}", start, start + 100)
        capture.kernel(GEMM, start, start + 60)
        capture.kernel(NCCL, start + 40, start + 80, stream=20)
    return capture.write(folder / "run.sqlite")


def run_folder(folder: Path) -> Path:
    """Make the folder of a run, with its recipe."""
    (run := folder / "run").mkdir()
    recipe = load_recipe("profile-small").model_dump()
    (run / "config.yaml").write_text(yaml.safe_dump(recipe))
    return run


def test_json_goes_to_stdout_alone(program: Program) -> None:
    done = program("profile", "nsight", example(program.folder).name, "--json")
    (device,) = json.loads(done.stdout)["devices"]
    assert device["communication_hidden_share"] == 0.5
    assert list(device["classes_ms"])[:3] == ["gemm", "attention", "communication"]
    assert device["top_kernels"][0] == {"name": GEMM, "class": "gemm", "total_ms": 180, "count": 3}
    assert device["steps"]["steps"][0]["duration_ms"] == 100


def test_a_person_reads_the_same_in_tables(program: Program) -> None:
    done = program("profile", "nsight", example(program.folder).name)
    for figure in ("280.0", "85.7%", "50.0%", "180.0", "100.0", GEMM[:40]):
        assert figure in done.stdout


def test_a_capture_is_shown_with_the_figures_of_its_log(program: Program) -> None:
    """Of three iterations of 100 ms the middle one counts."""
    run = run_folder(program.folder)
    lines = [{"iteration": at, "step_time_s": time_s} for at, time_s in ((0, 9), (100, 0.101))]
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    counted = json.loads(program("profile", "flops", "profile-small", "--json").stdout)
    flops = counted["model_causal"]
    words = ("profile", "nsight", example(program.folder).name, "--run", "run")
    found = json.loads(program(*words, "--json").stdout)["achieved"]
    assert found["tflops"] == pytest.approx(flops / 0.1 / 1e12)
    assert found["log_tflops"] == pytest.approx(found["tflops"], rel=0.02)
    assert "1 iterations: 100.0 ms" in program(*words).stdout


def test_a_capture_without_iterations_has_no_rate(program: Program) -> None:
    Capture.of((GEMM, 0, 10)).write(program.folder / "run.sqlite")
    run_folder(program.folder)
    done = program("profile", "nsight", "run.sqlite")
    assert "note: no NVTX ranges" in done.stderr
    assert "note:" not in done.stdout
    told = program.fails(1, "profile", "nsight", "run.sqlite", "--run", "run")
    assert "no NVTX ranges of iterations" in told
    assert "--iterations REGEX" in told
