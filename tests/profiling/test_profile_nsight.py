"""`megatron-music profile nsight`, as a user runs it."""

import json
from pathlib import Path

from tests.cli.program import Program
from tests.profiling.capture import GEMM, NCCL, Capture


def example(folder: Path) -> Path:
    capture = Capture()
    for start in (0, 100, 200):
        capture.range(f"iteration {start}", start, start + 100)
        capture.kernel(GEMM, start, start + 60)
        capture.kernel(NCCL, start + 40, start + 80, stream=20)
    return capture.write(folder / "run.sqlite")


def test_json_goes_to_stdout_alone(program: Program) -> None:
    done = program("profile", "nsight", example(program.folder).name, "--json")
    (device,) = json.loads(done.stdout)["devices"]
    assert device["communication_hidden_share"] == 0.5
    assert device["steps"]["steps"][0]["duration_ms"] == 100


def test_a_person_reads_the_same_in_tables(program: Program) -> None:
    done = program("profile", "nsight", example(program.folder).name)
    for figure in ("280.0", "85.7%", "50.0%", "180.0", "100.0", GEMM[:40]):
        assert figure in done.stdout


def test_remarks_go_to_stderr(program: Program) -> None:
    capture = Capture()
    capture.kernel(GEMM, 0, 10)
    capture.write(program.folder / "run.sqlite")
    done = program("profile", "nsight", "run.sqlite")
    assert "note: no NVTX ranges" in done.stderr
    assert "note:" not in done.stdout


def test_a_report_is_one_line_and_exit_code_1(program: Program) -> None:
    (program.folder / "run.nsys-rep").write_bytes(b"x")
    assert "nsys export" in program.fails(1, "profile", "nsight", "run.nsys-rep")


def test_a_bad_expression_is_exit_code_2(program: Program) -> None:
    file = example(program.folder).name
    assert "regular" in program.fails(2, "profile", "nsight", file, "--iterations", "(")
