"""What a day does on a GPU, with a stand-in for Python and for `nvidia-smi`."""

import json
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from megatron_music.config import load_recipe
from megatron_music.costs.layout import check_layout
from megatron_music.profiling.sweep.hardware import Gpu, Machine

pytest.importorskip("torch")

from profiling.gpu_day import measures, trainings
from profiling.gpu_day.__main__ import SECTIONS
from profiling.gpu_day.day import Day, Result, run_day
from profiling.gpu_day.trainings import FIRST, LATER, LAYOUTS
from tests.gpu_day import stand_in

PROGRAMS = ("train", "huggingface.py")
GPU = Gpu("NVIDIA Example", "GPU-1", 80 << 30, (9, 0))


@pytest.fixture
def day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Day:
    """A day on one GPU whose programs are the stand-in."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("python", "nvidia-smi"):
        (programs / name).write_text(f"#!{sys.executable}\n{Path(stand_in.__file__).read_text()}")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("STAND_IN_ASKED", str(tmp_path / "asked.jsonl"))
    # As a machine with a GPU has it, whatever ran in this process before.
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(measures, "WATCH_S", 2.0)
    (tmp_path / "tests").mkdir()
    (tmp_path / "data").mkdir()
    return Day(
        root=tmp_path,
        output=tmp_path / "out",
        work=tmp_path / "work",
        data=tmp_path / "data",
        machine=Machine((GPU,), 16),
        model=None,
        until=time.monotonic() + 480,
        python=str(programs / "python"),
    )


def run(day: Day, *names: str) -> dict[str, Result]:
    results = run_day(day, SECTIONS, names, lambda _: None, lambda _: None)
    return {one.name: one for one in results}


def asked(day: Day) -> list[list[str]]:
    return [json.loads(line) for line in (day.root / "asked.jsonl").read_text().splitlines()]


def check_trainings(day: Day) -> int:
    """Check the recipe and the layout of every training that was asked for; return how many."""
    count = 0
    for words in asked(day):
        start = next((words.index(one) for one in words if one.endswith(PROGRAMS)), None)
        if start is None:
            continue
        recipe = load_recipe(words[start + 1], [word for word in words if "=" in word])
        launcher = "--nproc-per-node"
        processes = int(words[words.index(launcher) + 1]) if launcher in words else 1
        check_layout(recipe, processes)
        count += 1
    return count


def test_every_section_does_its_work(day: Day) -> None:
    results = run(day)
    assert check_trainings(day) > 10
    outcomes = {name: one.outcome for name, one in results.items()}
    skipped = {name for name, outcome in outcomes.items() if outcome == "skipped"}
    assert skipped == {"layouts", "megatron-lm"}
    failed = {name: one.reason for name, one in results.items() if one.outcome == "failed"}
    assert set(failed) == {"tests"}
    assert results["tests"].values["failed"] == [
        "FAILED tests/train/test_trainer.py::test_it - assert 0"
    ]
    assert results["where"].values["devices"][0]["classes_ms"] == {"gemm": 9.5}
    assert results["sample"].values["the_same_on_both"] == "3 of 4"
    assert results["sweep"].values["rows"] == [{"memory_gib": "12.5", "estimated_gib": "12.1"}]
    means = results["nvml"].values
    assert means["nvidia_smi"] == {"power.draw [W]": 302.0, "clocks.sm [MHz]": 1750.0}
    assert means["ours"]["power_w"] == 300.0
    assert means["ours"]["samples"] > 2


def test_everything_is_trained_that_one_gpu_can(day: Day) -> None:
    result = run(day, "train")["train"]
    assert result.outcome == "ok", result.reason
    has_te = find_spec("transformer_engine") is not None
    expected = {one.name for one in [*FIRST, *LATER] if one.on != "te" or has_te}
    assert set(result.values["losses"]) == expected
    away = result.values["largest_difference_nats"]
    assert away["fp16 - fp32"] == pytest.approx(0.02)
    assert away["auto-resumed - auto"] == 0
    words = [" ".join(line) for line in asked(day)]
    (blend,) = (line for line in words if "/work/blend " in line)
    assert f"--data {day.data}:0.7" in blend
    assert f"--data {day.work}/second-set:0.3" in blend
    (tuned,) = (line for line in words if "/work/fine-tuned " in line)
    assert f"--from {day.work}/fp32" in tuned


def test_two_gpus_try_every_layout_against_one(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    day.machine = Machine((GPU, replace(GPU, uuid="GPU-2")), 16)
    real = trainings.train_command
    monkeypatch.setattr(trainings, "train_command", lambda *words: [day.python, *real(*words)[1:]])
    result = run(day, "layouts")["layouts"]
    assert result.outcome == "ok", result.reason
    assert check_trainings(day) == len(LAYOUTS)
    compared = {one.name for one in LAYOUTS if one.like}
    away = result.values["largest_difference_nats"]
    assert {name.partition(" - ")[0] for name in away} == compared
    assert set(away.values()) == {0.0}
    launched = [line for line in asked(day) if "torch.distributed.run" in line]
    assert [line[line.index("--nproc-per-node") + 1] for line in launched] == ["2"] * len(compared)


def test_losses_that_are_too_far_away_and_trainings_that_fail_are_named(
    day: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_FAILS", "recompute")
    program = Path(day.python)
    program.write_text(program.read_text().replace('"fp16": 0.02', '"fp16": 0.2'))
    result = run(day, "train")["train"]
    assert result.outcome == "failed"
    reasons = result.reason.split("; ")
    assert reasons[0].startswith("recompute: exit code 1: error: the device is out of memory")
    assert reasons[1].startswith("fp16: 0.2000 nats from fp32")
    assert len(reasons) == 2
