"""The iterations of a capture, as the training loop named them."""

from pathlib import Path
from typing import Any

import pytest

from megatron_music.errors import UsageError
from megatron_music.profiling.nsight.analyze import DeviceProfile, durations_ms, step_durations_ms
from megatron_music.profiling.nsight.read import read_profile
from tests.profiling.capture import GEMM, NCCL, Capture


def loop(
    lengths: list[int],
    name: str = "iteration {}",
    pid: int = 7,
    device: int = 0,
    into: Capture | None = None,
) -> Capture:
    """Iterations of these lengths one after the other, each with a product over its first half."""
    capture, start = into or Capture(), 0
    for number, length in enumerate(lengths):
        capture.range(name.format(number), start, start + length, pid=pid)
        capture.kernel(GEMM, start, start + length // 2, device=device, pid=pid)
        start += length
    return capture


def device_of(capture: Capture, folder: Path) -> DeviceProfile:
    return read_profile(capture.write(folder / "run.sqlite")).devices[0]


def steps_of(capture: Capture, folder: Path) -> Any:
    steps = device_of(capture, folder).steps
    assert steps is not None
    return steps


def test_the_first_and_the_last_iteration_are_left_out(tmp_path: Path) -> None:
    steps = steps_of(loop([90, 10, 12, 70]), tmp_path)
    assert [step["duration_ms"] for step in steps["steps"]] == [10, 12]
    assert (steps["dropped"], steps["mean_ms"]) == (2, 11)
    assert [step["busy_share"] for step in steps["steps"]] == [0.5, 0.5]


def test_fewer_than_three_iterations_are_all_counted_and_remarked_on(tmp_path: Path) -> None:
    profile = read_profile(loop([10, 12]).write(tmp_path / "run.sqlite"))
    assert durations_ms(profile.devices[0]) == [10, 12]
    assert any("fewer than three" in note for note in profile.notes)


@pytest.mark.parametrize(
    "name", ["iteration {}", "iteration", "Step {}", "train_step", "ProfilerStep#{}", "iter_{}"]
)
def test_the_usual_names_of_an_iteration_are_known(tmp_path: Path, name: str) -> None:
    assert durations_ms(device_of(loop([10] * 4, name), tmp_path)) == [10, 10]


@pytest.mark.parametrize("name", ["step_function", "iteration 3 of 4", "optimizer.step", "my step"])
def test_other_names_are_not_taken_for_one(tmp_path: Path, name: str) -> None:
    profile = read_profile(loop([10] * 4, name).write(tmp_path / "run.sqlite"))
    assert profile.devices[0].steps is None
    assert step_durations_ms(profile) == []
    assert any("no NVTX ranges of iterations" in note for note in profile.notes)


def test_other_names_can_be_given(tmp_path: Path) -> None:
    file = loop([10] * 4, "batch {}").write(tmp_path / "run.sqlite")
    (device,) = read_profile(file, iterations=r"batch \d+").devices
    assert len(durations_ms(device)) == 2


def test_invalid_expressions_for_names_are_refused(tmp_path: Path) -> None:
    file = loop([10]).write(tmp_path / "run.sqlite")
    with pytest.raises(UsageError, match="not a regular expression"):
        read_profile(file, iterations="(")


@pytest.mark.parametrize(
    ("end", "registered", "counted"),
    [(40, True, 2), (None, False, 1)],
    ids=["its name is in a table", "never closed"],
)
def test_another_iteration_counts_where_it_is_closed(
    tmp_path: Path, end: int | None, registered: bool, counted: int
) -> None:
    capture = loop([10, 10, 10])
    capture.range("iteration 3", 30, end, registered=registered)
    assert len(durations_ms(device_of(capture, tmp_path))) == counted


def test_of_nested_iterations_the_outermost_counts(tmp_path: Path) -> None:
    capture = loop([10] * 4)
    for start in (0, 10, 20, 30):
        capture.range("step 1", start + 1, start + 9)
    assert durations_ms(device_of(capture, tmp_path)) == [10, 10]


def test_ranges_inside_an_iteration_are_summed_by_name(tmp_path: Path) -> None:
    capture = loop([100] * 4)
    for start in (0, 100, 200, 300):
        capture.range("forward 0", start, start + 20)
        capture.range("attention", start + 5, start + 15)  # inside forward: part of that
        capture.range("forward 1", start + 20, start + 40)
        capture.range("optimizer", start + 80, start + 90)
        capture.range("elsewhere", start + 45, start + 70, thread=8)
    assert steps_of(capture, tmp_path)["phases_ms"] == {"forward": 40, "optimizer": 10}


def test_communication_is_reported_for_each_step(tmp_path: Path) -> None:
    capture = loop([10] * 4)
    capture.kernel(NCCL, 13, 19, stream=20)  # the product hides it until 15
    steps = steps_of(capture, tmp_path)["steps"]
    assert [step["communication_ms"] for step in steps] == [6, 0]
    assert [step["communication_exposed_ms"] for step in steps] == [4, 0]


def test_a_device_has_the_iterations_of_its_own_process(tmp_path: Path) -> None:
    capture = loop([20] * 4, pid=8, device=1, into=loop([10] * 4))
    profile = read_profile(capture.write(tmp_path / "run.sqlite"))
    assert [durations_ms(device) for device in profile.devices] == [[10, 10], [20, 20]]


def test_an_iteration_takes_as_long_as_on_the_slowest_device(tmp_path: Path) -> None:
    capture = loop([9, 20, 20, 9], pid=8, device=1, into=loop([9, 10, 30, 9]))
    assert step_durations_ms(read_profile(capture.write(tmp_path / "run.sqlite"))) == [20, 30]
