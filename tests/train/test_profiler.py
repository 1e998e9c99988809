"""What an iteration does is named while it is profiled, and only then."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from megatron_music.config import LogConfig
from megatron_music.profiling.nsight.read import read_torch_trace

pytest.importorskip("megatron.core")

from megatron_music.train.profiler import REST, PhaseTimers

WAIT_S = 0.02


def timers(start: int, end: int, is_cuda: bool = False, is_first: bool = True) -> PhaseTimers:
    log = LogConfig(profile_step_start=start, profile_step_end=end)
    context: Any = SimpleNamespace(is_cuda=is_cuda, is_first=is_first)
    return PhaseTimers(log, context)


def iterate(named: PhaseTimers, *numbers: int) -> None:
    """Do what a schedule with two microbatches and our step do."""
    for number in numbers:
        with named.iteration(number):
            named("forward-backward", log_level=1).start(barrier=False)
            for _ in range(2):
                for name in ("forward-compute", "backward-compute"):
                    named(name, log_level=2).start()
                    time.sleep(WAIT_S)
                    named(name).stop()
            named("all-grads-sync", log_level=1).start(barrier=False)
            named("all-grads-sync").stop()
            named("forward-backward").stop()
            with named.phase("optimizer"):
                named("optimizer-inner-step", log_level=1).start()
                named("optimizer-inner-step").stop()


def test_phases_are_timed_without_those_inside_them() -> None:
    named = timers(0, 2)
    begin = time.perf_counter()
    iterate(named, 1, 2)
    whole_s = (time.perf_counter() - begin) / 2
    found = named.take()
    assert set(found) == {"forward", "backward", "communication", "optimizer", REST}
    assert found["forward"] >= 2 * WAIT_S
    assert sum(found.values()) == pytest.approx(whole_s, rel=0.1)
    assert named.take() == {}


def test_iterations_that_were_not_chosen_are_not_named() -> None:
    named = timers(2, 3)
    iterate(named, 1, 2, 4)
    assert named.take() == {}
    iterate(named, 3)
    assert named.take()


def test_the_wait_for_data_is_not_part_of_the_pass() -> None:
    named = timers(0, 1)

    def slow() -> Iterator[int]:
        for item in range(2):
            time.sleep(WAIT_S)
            yield item

    with named.iteration(1):
        data = named.each(slow(), "data")
        for expected in range(2):
            named("forward-compute").start()
            assert next(data) == expected
            named("forward-compute").stop()
        assert next(data, None) is None
    found = named.take()
    assert found["data"] >= 2 * WAIT_S
    assert found["forward"] < WAIT_S


def test_torchs_profiler_records_the_same_names_of_the_chosen_iterations(tmp_path: Path) -> None:
    log = LogConfig(profile_step_start=1, profile_step_end=3, use_pytorch_profiler=True)
    context: Any = SimpleNamespace(is_cuda=False, is_first=True)
    iterate(PhaseTimers(log, context, tmp_path / "trace.json.gz"), 1, 2, 3, 4)
    found = [one.name for one in read_torch_trace(tmp_path / "trace.json.gz").ranges]
    passes = ["forward", "backward"] * 2
    inside = [*passes, "communication", "optimizer"]
    assert found == ["iteration 2", *inside, "iteration 3", *inside]
    assert [path.name for path in tmp_path.iterdir()] == ["trace.json.gz"]


def test_what_pipeline_stages_send_is_communication() -> None:
    named = timers(0, 1)
    with named.iteration(1):
        named("backward-send-forward-recv", log_level=2).start()
        time.sleep(WAIT_S)
        named("backward-send-forward-recv").stop()
    assert named.take()["communication"] >= WAIT_S


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of CUDA, in order."""
    asked: list[str] = []
    monkeypatch.setattr(torch.cuda.nvtx, "range_push", asked.append)
    monkeypatch.setattr(torch.cuda.nvtx, "range_pop", lambda: asked.append("."))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: asked.append("wait"))
    monkeypatch.setattr(torch.cuda.profiler, "start", lambda: asked.append("start"))
    monkeypatch.setattr(torch.cuda.profiler, "stop", lambda: asked.append("stop"))
    return asked


INSIDE = "forward . backward . forward . backward . communication . optimizer . wait ."


def test_on_a_gpu_the_capture_holds_the_chosen_iterations_with_their_ranges(
    gpu: list[str],
) -> None:
    iterate(timers(1, 3, is_cuda=True), 1, 2, 3, 4)
    expected = f"wait start iteration_2 {INSIDE} iteration_3 {INSIDE} wait stop"
    assert " ".join(gpu).replace("iteration ", "iteration_") == expected


def test_one_rank_alone_starts_the_capture(gpu: list[str]) -> None:
    iterate(timers(0, 1, is_cuda=True, is_first=False), 1)
    assert gpu[0] == "iteration 1"
    assert not {"start", "stop"} & set(gpu)


def test_a_run_that_resumes_among_the_profiled_iterations_is_captured(
    gpu: list[str],
) -> None:
    iterate(timers(0, 3, is_cuda=True), 3)
    assert gpu[:3] == ["wait", "start", "iteration 3"]
    assert gpu[-1] == "stop"


def test_without_a_choice_megatrons_timers_stay_off() -> None:
    config = SimpleNamespace(timers=None)
    train_state: Any = SimpleNamespace(model=SimpleNamespace(config=config))
    timers(0, 0).watch(train_state)
    assert config.timers is None
    chosen = timers(0, 1)
    chosen.watch(train_state)
    assert config.timers is chosen
