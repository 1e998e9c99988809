"""`profile sweep` and `profile report` as a user meets them."""

from dataclasses import replace

import pytest

from megatron_music.cli import profile
from megatron_music.profiling.sweep.results import append_row
from tests.cli.program import Program
from tests.profiling.test_report import FAILED, FASTER, RAN

SWEEP = "recipe: tiny\ngrid: {train.precision: [fp16]}\n"


def test_a_report_is_printed_best_first(program: Program) -> None:
    for row in (RAN, FAILED, FASTER):
        append_row(program.folder / "out", row)
    done = program("profile", "report", "out")
    first, second, last = done.stdout.splitlines()
    assert first.startswith("1. 2 processes, TP=2 PP=1 DP=1")
    assert "0.1 s/iteration, 40 tokens/s" in first
    assert "43.8% of the peak (model_causal)" in first
    assert second.startswith("2. ")
    assert last == "report: out/report.html"


def test_a_report_where_nothing_ran_fails_with_the_first_reason(program: Program) -> None:
    append_row(program.folder / "out", replace(FAILED, reason="too big"))
    told = program.fails(1, "profile", "report", "out")
    assert "out of memory: too big" in told
    assert (program.folder / "out" / "report.html").is_file()


def test_captures_without_nsys_are_refused_before_anything_runs(program: Program) -> None:
    (program.folder / "s.yaml").write_text(SWEEP)
    words = ("profile", "sweep", "s.yaml", "-o", "out", "--nsys", "1")
    assert "install nsight-systems" in program.fails(1, *words, PATH="/nowhere")
    assert not (program.folder / "out").exists()


@pytest.mark.slow
def test_a_sweep_of_which_nothing_can_run_here_says_why(program: Program) -> None:
    (program.folder / "s.yaml").write_text(SWEEP)
    told = program.fails(1, "profile", "sweep", "s.yaml", CUDA_VISIBLE_DEVICES="")
    assert "skipped: train.precision=fp16 needs a GPU" in told
    assert (program.folder / "runs" / "profile-s" / "report.html").is_file()


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5h", 5400), ("45", 45)]
)
def test_a_budget_is_a_time(text: str, seconds: float) -> None:
    assert profile.budget_seconds(text) == seconds
