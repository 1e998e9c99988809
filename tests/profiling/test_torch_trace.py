"""A trace by torch's profiler is read into the same figures as an export of Nsight Systems."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from megatron_music.errors import InputError
from megatron_music.profiling.nsight.read import read_profile, read_torch_trace
from tests.profiling.capture import FLASH, GEMM, NCCL

US_PER_MS = 1000
MAIN, LOADER = 70, 71


def event(category: str, name: str, start_ms: float, end_ms: float, **more: Any) -> dict[str, Any]:
    times = {"ts": start_ms * US_PER_MS, "dur": (end_ms - start_ms) * US_PER_MS}
    return {"ph": "X", "cat": category, "name": name, "pid": 7, "tid": MAIN, **times, **more}


def kernel(name: str, start_ms: float, end_ms: float, device: int = 0) -> dict[str, Any]:
    return event("kernel", name, start_ms, end_ms, pid=device, tid=7, args={"device": device})


def step(number: int, start_ms: float) -> list[dict[str, Any]]:
    """Return an iteration of 100 ms: two microbatches and the optimizer."""
    names = ("data", "forward", "backward") * 2 + ("optimizer",)
    lengths = (5, 10, 20) * 2 + (25,)
    events = [event("user_annotation", f"iteration {number}", start_ms, start_ms + 100)]
    at = start_ms
    for name, length in zip(names, lengths, strict=True):
        events.append(event("user_annotation", name, at, at + length))
        at += length
    return [
        *events,
        kernel(GEMM, start_ms, start_ms + 50),
        kernel(FLASH, start_ms + 50, start_ms + 60),
        kernel(NCCL, start_ms + 40, start_ms + 70),
        event("gpu_memcpy", "Memcpy HtoD", start_ms, start_ms + 2, args={"device": 0}),
    ]


def trace_text(events: list[dict[str, Any]]) -> str:
    others = [
        {"ph": "M", "name": "process_name", "pid": 7, "args": {"name": "python"}},
        event("cpu_op", "aten::mm", 0, 1),
        event("user_annotation", "loading", 10, 20, tid=LOADER),
    ]
    gpus = [{"id": 0, "name": "NVIDIA Example"}]
    return json.dumps({"deviceProperties": gpus, "traceEvents": [*others, *events]})


@pytest.mark.parametrize("name", ["trace.json", "trace.json.gz"])
def test_classes_idle_time_communication_and_phases_are_those_of_the_events(
    tmp_path: Path, name: str
) -> None:
    steps = [one for number in range(3) for one in step(number, 100.0 * number)]
    path = tmp_path / name
    with gzip.open(path, "wt") if name.endswith("gz") else path.open("w") as file:
        file.write(trace_text(steps))
    (device,) = read_profile(path).devices
    assert (device.name, device.kernel_count) == ("NVIDIA Example", 9)
    assert (device.span_ms, device.busy_ms) == (270, 210)
    assert device.classes_ms["gemm"] == 150
    assert device.classes_ms["attention"] == 30
    assert device.classes_ms["memory"] == 6
    assert (device.communication_ms, device.communication_exposed_ms) == (90, 30)
    assert device.steps is not None
    assert [one["name"] for one in device.steps["steps"]] == ["iteration 1"]
    assert device.steps["phases_ms"] == {"backward": 40, "optimizer": 25, "forward": 20, "data": 10}


def test_gpus_are_separated(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text(trace_text([kernel(GEMM, 0, 10), kernel(GEMM, 2, 10, device=1)]))
    assert [one.span_ms for one in read_profile(path).devices] == [10, 8]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not whole JSON"),
        ('{"traceEvents": [', "not whole JSON"),
        ("[]", "not a trace of torch's profiler"),
        ('{"traceEvents": [{"ph": "X", "cat": "kernel"}]}', "not a trace of torch's profiler"),
        ('{"traceEvents": [{"ph": "X", "cat": "cpu_op"}]}', "holds no GPU kernels"),
    ],
)
def test_a_file_that_is_not_a_trace_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "trace.json"
    path.write_text(text)
    with pytest.raises(InputError, match=reason):
        read_profile(path)


def test_a_trace_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.json.gz"
    path.write_bytes(gzip.compress(trace_text(step(0, 0)).encode())[:-20])
    with pytest.raises(InputError, match="cannot read"):
        read_torch_trace(path)
