"""Sweeps: what a grid means, what is skipped, and that every configuration leaves its row."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil
import pytest
import yaml

from megatron_music.data.indexed import IndexedReader
from megatron_music.errors import InputError, RecipeError, TrainingError, UsageError
from megatron_music.profiling.sweep import hardware, run, trial
from megatron_music.profiling.sweep.hardware import Gpu, Machine, Peaks
from megatron_music.profiling.sweep.results import ROWS_FILE, Row, append_row, read_rows
from megatron_music.profiling.sweep.run import Rehearsed, run_sweep
from megatron_music.profiling.sweep.spec import Configuration, expand, load_sweep, refusal_reason
from megatron_music.profiling.sweep.subprocesses import explain
from megatron_music.profiling.sweep.synthetic import synthetic_data
from megatron_music.tokenizer.vocabulary import load_vocabulary
from tests.cli.program import Program
from tests.profiling import fake_sweep, fake_training

ROOT = Path(__file__).parents[2]
SWEEPS = ROOT / "profiling" / "sweeps"
TP = "parallel.tensor_model_parallel_size"
SMALL = {
    "model.seq_length": 32,
    "train.global_batch_size": 8,
    "train.micro_batch_size": 1,
    "train.precision": "fp32",
}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a sweep file: `write(grid, **more)`."""

    def go(grid: dict[str, Any], **more: Any) -> Path:
        path = tmp_path / "sweep.yaml"
        values = {"recipe": "tiny", "fixed": SMALL, "grid": grid}
        values |= {"warmup_iters": 1, "measured_iters": 3, "timeout_s": 30} | more
        path.write_text(yaml.safe_dump(values, sort_keys=False))
        return path

    return go


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the fake training in the place of the real one, on a CPU of a known peak."""
    monkeypatch.setattr(trial, "train_command", fake_training.command)
    monkeypatch.setattr(hardware, "run_in_subprocess", fake_sweep.answer)


def points(path: Path) -> list[Configuration]:
    return expand(load_sweep(path))


def behaviours(*seeds: int) -> dict[str, list[int]]:
    return {"train.seed": list(seeds)}


def test_a_grid_is_every_combination(write: Write) -> None:
    found = points(write({"processes": [1, 2], TP: [1, 2], "train.micro_batch_size": [1, 4]}))
    told = {
        (c.processes, c.recipe.parallel.tensor_model_parallel_size, c.recipe.train.micro_batch_size)
        for c in found
    }
    assert told == {(p, t, m) for p in (1, 2) for t in (1, 2) for m in (1, 4)}
    assert len({c.key for c in found}) == 8


def test_values_that_belong_together_go_together_and_the_same_is_run_once(write: Write) -> None:
    sizes = [{"model.num_layers": 1, "model.hidden_size": 32}, {"model.num_layers": 2}]
    found = points(write({"size": sizes}))
    shapes = {(c.recipe.model.num_layers, c.recipe.model.hidden_size) for c in found}
    assert shapes == {(1, 32), (2, 256)}
    assert len(points(write({"train.micro_batch_size": [1, 1]}))) == 1


def test_every_iteration_is_logged_and_nothing_comes_between(write: Write) -> None:
    (one,) = expand(load_sweep(write({"processes": ["all"]})), 8)
    log = one.recipe.log
    assert (log.log_interval, log.eval_interval, log.save_interval) == (1, 0, 0)
    assert (one.processes, one.recipe.train.train_iters) == (8, 4)


def test_the_likely_best_come_first(write: Write) -> None:
    grid = {"processes": [2], TP: [2, 1], "train.micro_batch_size": [1, 4]}
    found = points(write(grid | {"train.recompute": ["full", "none"]}))
    order = [
        (
            c.recipe.parallel.tensor_model_parallel_size,
            c.recipe.train.micro_batch_size,
            c.recipe.train.recompute,
        )
        for c in found
    ]
    assert order[:3] == [(1, 4, "none"), (1, 4, "full"), (1, 1, "none")]
    assert order[-1] == (2, 1, "full")


def test_what_cannot_run_is_refused_with_the_reason(write: Write) -> None:
    grid = {"processes": [1, 2], TP: [1, 3]}
    told = {
        (c.processes, c.recipe.parallel.tensor_model_parallel_size): refusal_reason(c, 1)
        for c in points(write(grid))
    }
    assert told[1, 1] is None
    assert "this machine has 1" in str(told[2, 1])
    assert "does not divide model.num_attention_heads=4" in str(told[1, 3])
    (one,) = points(write({"train.precision": ["fp16"]}))
    assert "needs a GPU" in str(refusal_reason(one, 0))
    assert refusal_reason(one, 1) is None


@pytest.mark.parametrize(
    ("grid", "more", "error", "told"),
    [
        ({"train.micro_batchsize": [1]}, {}, RecipeError, "did you mean 'train.micro_batch_size'"),
        ({"processes": [0]}, {}, UsageError, "got 0"),
        ({"log.log_interval": [5]}, {}, UsageError, "sets log.log_interval itself"),
        ({"processes": []}, {}, UsageError, "grid.processes"),
        ({str(key): [1] * 100 for key in range(9)}, {}, UsageError, "10,000 at most"),
        ({}, {"gird": {}}, UsageError, "gird"),
        ({}, {"recipe": "tinny"}, RecipeError, "did you mean 'tiny'"),
    ],
)
def test_a_wrong_sweep_is_answered_in_one_line(
    write: Write, grid: dict[str, Any], more: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told) as caught:
        points(write(grid, **more))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="cannot read the sweep"):
        load_sweep(Path("none.yaml"))


@pytest.mark.parametrize("path", sorted(SWEEPS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_sweeps_that_come_with_the_project_are_sound(path: Path) -> None:
    found = expand(load_sweep(path), 8)
    short = {"cpu": {512}, "gpu-day-dry": {128}}  # all others are for GPUs
    gpus = 0 if path.stem in short else 16
    assert any(refusal_reason(one, gpus) is None for one in found)
    lengths = {one.recipe.model.seq_length for one in found}
    assert lengths == short.get(path.stem, {4096})


def test_the_synthetic_data_is_legal_and_the_same_every_time(tmp_path: Path) -> None:
    one, other = (synthetic_data(tmp_path / name, 64) for name in ("one", "other"))
    assert (one / "train.bin").read_bytes() == (other / "train.bin").read_bytes()
    reader, vocabulary = IndexedReader(one / "train"), load_vocabulary(one / "tokenizer")
    assert int(reader.tokens.max()) < len(vocabulary)
    assert int(reader.tokens.min()) > vocabulary.pad
    assert reader[0][-1] == vocabulary.piece_end
    made = (one / "train.bin").stat().st_mtime_ns
    assert synthetic_data(tmp_path / "one", 64) == one
    assert (one / "train.bin").stat().st_mtime_ns == made


@pytest.mark.usefixtures("fake")
def test_every_outcome_is_a_row_with_its_reason(write: Write, tmp_path: Path) -> None:
    kinds = fake_training
    ends = [seed for seed in range(kinds.FINE, kinds.SHORT + 1) if seed != kinds.HANGS]
    grid = behaviours(*ends) | {TP: [1, 3]}
    _, left = run_sweep(write(grid), tmp_path / "out")
    assert left == 0
    seeds = {row.key: row for row in read_rows(tmp_path / "out")}
    rows = {
        c.recipe.train.seed: seeds[c.key]
        for c in points(write(grid))
        if c.recipe.parallel.tensor_model_parallel_size == 1
    }
    outcomes = {seed: (row.outcome, row.reason) for seed, row in rows.items()}
    assert outcomes[kinds.FINE] == ("ok", "")
    assert outcomes[kinds.OUT_OF_MEMORY][0] == "out of memory"
    assert outcomes[kinds.RAISES] == ("failed", "RuntimeError: the matrix is singular")
    assert "signal 9" in outcomes[kinds.KILLED][1]
    assert "no output" in outcomes[kinds.SILENT][1]
    assert outcomes[kinds.SHORT] == ("failed", "its log holds 3 of 4 iterations")
    skipped = [row for row in seeds.values() if row.outcome == "skipped"]
    assert len(skipped) == len(rows)
    assert all("num_attention_heads" in row.reason for row in skipped)


@pytest.mark.usefixtures("fake")
def test_a_timed_out_run_is_a_row_and_leaves_no_process(write: Write, tmp_path: Path) -> None:
    sweep, ran = write(behaviours(fake_training.HANGS), timeout_s=5), tmp_path / "out" / "ran.txt"
    run_sweep(sweep, tmp_path / "out")
    (row,) = read_rows(tmp_path / "out")
    told = "took longer than 5 s; 0 of 4 iterations done"
    assert (row.outcome, row.reason) == ("timeout", told)
    pids = ran.read_text().split()[1::2] if ran.exists() else []  # a slow machine starts none
    assert not any(psutil.pid_exists(int(pid)) for pid in pids)


@pytest.mark.usefixtures("fake")
def test_the_warm_up_is_left_out_and_the_peak_is_the_measured_one(
    write: Write, tmp_path: Path
) -> None:
    run_sweep(write(behaviours(fake_training.FINE)), tmp_path / "out")
    (row,) = read_rows(tmp_path / "out")
    assert row.step_times_s == (1.0, 1.5, 2.0)
    assert (row.device, row.devices, row.processes) == ("a CPU", 1, 1)
    assert row.peak_tflops == fake_sweep.PEAK.tflops
    assert row.peak_source.startswith("measured")
    assert row.command.startswith("OMP_NUM_THREADS=")
    (one,) = points(write(behaviours(fake_training.FINE)))
    assert row.label == one.label


@pytest.mark.usefixtures("fake")
def test_a_rehearsal_needs_a_gpu_or_its_name(write: Write, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is none; add --device NAME --gpus N"):
        run_sweep(write({"processes": [1]}), tmp_path / "out", rehearse=True)


@pytest.mark.usefixtures("fake")
def test_rows_that_are_there_are_not_run_again(write: Write, tmp_path: Path) -> None:
    folder, kinds = tmp_path / "out", fake_training
    first = run_sweep(write(behaviours(kinds.FINE, kinds.SILENT)), folder)
    second = run_sweep(write(behaviours(kinds.FINE, kinds.SILENT, kinds.SHORT)), folder)
    assert (first, second) == ((2, 0), (1, 0))
    rows = read_rows(folder)
    assert len((folder / "ran.txt").read_text().splitlines()) == 3
    assert run_sweep(write(behaviours(kinds.FINE, kinds.SILENT, kinds.SHORT)), folder) == (0, 0)
    assert read_rows(folder) == rows


@pytest.mark.usefixtures("fake")
def test_a_budget_ends_the_sweep_and_what_it_cut_short_leaves_no_row(
    write: Write, tmp_path: Path
) -> None:
    sweep = write(behaviours(fake_training.FINE, fake_training.HANGS_ONCE))
    assert run_sweep(sweep, tmp_path / "out", budget_s=12) == (1, 1)
    assert [row.outcome for row in read_rows(tmp_path / "out")] == ["ok"]
    assert run_sweep(sweep, tmp_path / "out") == (1, 0)
    with pytest.raises(UsageError, match="above 0 s"):
        run_sweep(sweep, tmp_path / "out", budget_s=0)
    with pytest.raises(TrainingError, match="before any configuration"):
        run_sweep(sweep, tmp_path / "other", budget_s=1e-9)


def start(write: Write, folder: Path) -> tuple[Path, subprocess.Popen[bytes], int]:
    """Start a sweep whose second run hangs; return its file, it and the process that hangs."""
    sweep = write(behaviours(fake_training.FINE, fake_training.HANGS_ONCE))
    process = subprocess.Popen(fake_command(sweep, folder), cwd=ROOT)
    ran = folder / "ran.txt"
    until = time.monotonic() + 60
    while not (ran.exists() and len(ran.read_text().split()) == 4):
        assert time.monotonic() < until
        time.sleep(0.05)
    return sweep, process, int(ran.read_text().split()[3])


def resume(sweep: Path, folder: Path) -> None:
    """Start a sweep again; the run that hung is repeated, and it alone."""
    subprocess.run(fake_command(sweep, folder), cwd=ROOT, check=True, timeout=60)
    ran = (folder / "ran.txt").read_text()
    assert [line.split()[0] for line in ran.splitlines()] == ["1", "8", "8"]
    assert [row.outcome for row in read_rows(folder)] == ["ok", "ok"]


def fake_command(sweep: Path, folder: Path) -> list[str]:
    return [sys.executable, "-m", "tests.profiling.fake_sweep", str(sweep), str(folder)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_current_run_and_the_same_call_repeats_it(
    write: Write, tmp_path: Path, number: signal.Signals
) -> None:
    sweep, process, run = start(write, tmp_path / "out")
    with pytest.raises(UsageError, match="another sweep is running"):
        run_sweep(sweep, tmp_path / "out")
    process.send_signal(number)
    assert process.wait(30) != 0
    assert not psutil.pid_exists(run)
    assert [row.outcome for row in read_rows(tmp_path / "out")] == ["ok"]
    resume(sweep, tmp_path / "out")


def test_a_killed_sweep_resumes_and_ends_the_run_it_left(write: Write, tmp_path: Path) -> None:
    sweep, process, orphan = start(write, tmp_path / "out")
    process.kill()
    process.wait()
    assert psutil.pid_exists(orphan)
    with (tmp_path / "out" / ROWS_FILE).open("a") as file:
        file.write('{"key": "cut sho')  # as a kill in the middle of a line would leave it
    resume(sweep, tmp_path / "out")
    assert not psutil.pid_exists(orphan)


def test_a_row_survives_its_file(tmp_path: Path) -> None:
    one, other = (
        Row(key, "ok", "", "", 1, "fp32", 1, 1, 1, 1, 2, "none", 4, 1, 8, 128, step_times_s=(0.5,))
        for key in "ab"
    )
    assert read_rows(tmp_path) == []
    append_row(tmp_path, one)
    (tmp_path / ROWS_FILE).write_text((tmp_path / ROWS_FILE).read_text() + "[1]\nnull\n{")
    append_row(tmp_path, other)
    assert read_rows(tmp_path) == [one, other]


def test_the_launchers_own_words_are_not_the_reason() -> None:
    output = (
        "W1121 torch/distributed/run.py] waiting\n"
        "[rank1]: Traceback (most recent call last):\n"
        "[rank1]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n"
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"
    )
    assert explain(output, 1).startswith("torch.OutOfMemoryError: CUDA out of memory")
    assert explain("[rank0]: error: no data\n" + output, 1) == "no data"
    assert "signal 9" in explain("  exitcode  : -9 (pid: 7)\n", 1)


def test_a_known_gpu_has_its_data_sheets_peak_and_an_unknown_one_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "run_in_subprocess", fake_sweep.answer)
    said: list[str] = []
    known = Peaks(tmp_path, Machine((Gpu("Tesla V100-SXM3-32GB", "u"),), 8), said.append)
    assert known.of("fp16").tflops == 125
    assert said == []
    unknown = Peaks(tmp_path, Machine((Gpu("NVIDIA X1", "u"),), 8), said.append)
    assert unknown.of("fp32").tflops == fake_sweep.PEAK.tflops
    assert "no peak is known for 'NVIDIA X1'" in said[0]


def test_the_better_of_two_measured_peaks_counts(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter([2.0, 3.0, 1.0])

    def answer(work: object, *_: object) -> object:
        if work is not hardware.measure_peak:
            return ()
        return replace(fake_sweep.PEAK, tflops=next(found))

    monkeypatch.setattr(trial, "train_command", fake_training.command)
    monkeypatch.setattr(hardware, "run_in_subprocess", answer)
    for seeds in ((fake_training.FINE,), (fake_training.FINE, fake_training.SILENT)):
        run_sweep(write(behaviours(*seeds)), tmp_path / "out")
        assert read_rows(tmp_path / "out")[0].peak_tflops == 3.0


@pytest.mark.slow
def test_a_real_sweep_on_this_machine(write: Write, program: Program) -> None:
    pytest.importorskip("megatron.core")
    tiny = {"model.num_layers": 1, "model.hidden_size": 32, "train.global_batch_size": 2}
    path = write({"processes": [2], TP: [2, 3]}, fixed=SMALL | tiny, timeout_s=300)
    done = program("profile", "sweep", str(path), "-o", "out", CUDA_VISIBLE_DEVICES="")
    ran, skipped = sorted(read_rows(program.folder / "out"), key=lambda row: row.outcome)
    assert (ran.outcome, skipped.outcome) == ("ok", "skipped")
    assert len(ran.step_times_s) == 3
    assert all(time_s > 0 for time_s in ran.step_times_s)
    assert "1. 2 processes, TP=2" in done.stdout
    assert "report: out/report.html" in done.stdout
    run = program.folder / "out" / "runs" / ran.key
    assert {"forward", "backward", "communication", "optimizer"} <= set(ran.phases_s)
    assert sum(ran.phases_s.values()) <= 1.05 * fmean(ran.step_times_s)
    assert ran.memory_bytes
    assert (program.folder / "out" / "report-phases.png").is_file()
    assert json.loads((run / "environment.json").read_text())["world_size"] == 2
    assert not (run / "checkpoints").exists()
    if hasattr(os, "sched_getaffinity"):
        assert ran.peak_tflops


@pytest.mark.usefixtures("fake")
def test_a_rehearsal_orders_a_sweep_on_a_gpu(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write({"train.micro_batch_size": [1, 2, 4]})
    gpu = Gpu("NVIDIA H100 80GB HBM3", "GPU-0", 80 << 30, (9, 0))
    monkeypatch.setattr(run, "detect_hardware", lambda: Machine((gpu,), 8))
    asked: list[str] = []

    def smallest_first(todo: list[Configuration], device: str, *_: object) -> list[Rehearsed]:
        asked.append(device)
        ordered = sorted(todo, key=lambda one: one.recipe.train.micro_batch_size)
        return [Rehearsed(one, None) for one in ordered]

    monkeypatch.setattr(run, "rehearse_all", smallest_first)
    run_sweep(path, tmp_path / "out", rehearse=True)
    assert asked == [gpu.name]
    assert [row.micro_batch_size for row in read_rows(tmp_path / "out")] == [1, 2, 4]
