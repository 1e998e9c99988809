"""A day gives every section its time, its outcome and a line in the page."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from megatron_music.profiling.sweep.hardware import Gpu, Machine
from profiling.gpu_day.day import DRY_SLACK, SPARE_S, Day, Found, Result, Section, run_day
from profiling.gpu_day.summary import Head, write_summary

HEAD = Head("2026-11-28", "nvidia-example", "1 x NVIDIA Example, 16 cores", "cmd", "abc", False)


@pytest.fixture
def day(tmp_path: Path) -> Day:
    """A day of a minute on a machine with a GPU."""
    return Day(
        root=tmp_path,
        output=tmp_path / "out",
        work=tmp_path / "work",
        data=tmp_path / "data",
        machine=Machine((Gpu("NVIDIA Example", "GPU-1"),), 16),
        model=None,
        until=time.monotonic() + 60,
        python=sys.executable,
    )


def section(
    work: Callable[[Day], Found], name: str = "one", needs_s: float = 1, limit_s: float = 30
) -> Section:
    return Section(name, "something", work, needs_s, limit_s)


def only(day: Day, one: Section) -> Result:
    (result,) = run_day(day, [one], (), lambda _: None, lambda _: None)
    return result


def test_what_a_section_finds_is_kept_with_its_outcome(day: Day) -> None:
    fine = only(day, section(lambda _: Found({"rate": 3})))
    assert (fine.outcome, fine.values, fine.reason) == ("ok", {"rate": 3}, "")
    bad = only(day, section(lambda _: Found({"rate": 3}, ["fp16: too far", "bf16: too far"])))
    assert (bad.outcome, bad.values) == ("failed", {"rate": 3})
    assert bad.reason == "fp16: too far; bf16: too far"


def test_a_section_that_breaks_leaves_the_others_their_turn(day: Day) -> None:
    def breaks(_: Day) -> Found:
        raise KeyError("steps")

    sections = [section(breaks, "first"), section(lambda _: Found(), "second")]
    kept: list[int] = []
    results = run_day(day, sections, (), lambda _: None, lambda so_far: kept.append(len(so_far)))
    assert [one.outcome for one in results] == ["failed", "ok"]
    assert "KeyError" in results[0].reason
    assert kept == [1, 2]


def test_a_section_is_skipped_where_its_time_is_too_short_or_the_machine_lacks_something(
    day: Day,
) -> None:
    needy = only(day, section(lambda _: Found(), needs_s=61))
    assert (needy.outcome, needy.seconds) == ("skipped", 0)
    absent = only(day, Section("one", "", lambda _: Found(), 1, 1, lambda _: "one GPU only"))
    assert (absent.outcome, absent.reason) == ("skipped", "one GPU only")
    (unasked,) = run_day(
        day, [section(lambda _: Found())], ["other"], lambda _: None, lambda _: None
    )
    assert unasked.outcome == "skipped"


def test_a_section_has_its_limit_and_the_day_an_end(day: Day) -> None:
    def look(day: Day) -> Found:
        return Found({"left_s": day.left_s})

    assert only(day, section(look, limit_s=30)).values["left_s"] == pytest.approx(30, abs=2)
    late = only(day, section(look, limit_s=300)).values["left_s"]
    assert late == pytest.approx(60 - SPARE_S, abs=3)
    day.machine = Machine((), 2)
    dry = only(day, section(look, limit_s=5)).values["left_s"]
    assert dry == pytest.approx(5 * DRY_SLACK, abs=2)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_program_that_takes_too_long_is_ended_with_its_children(day: Day) -> None:
    child = "import time; time.sleep(600)"
    parent = (
        "import subprocess, sys, time; "
        f"print(subprocess.Popen([sys.executable, '-c', {child!r}]).pid, flush=True); "
        "time.sleep(600)"
    )

    def hangs(day: Day) -> Found:
        found = Found()
        found.check("parent", day.run("parent", [sys.executable, "-c", parent]).fault)
        return found

    result = only(day, section(hangs, limit_s=2))
    assert (result.outcome, result.reason) == ("failed", "parent: took longer than 2 s")
    pid = int((day.output / "logs" / "parent.txt").read_text())
    # A killed process is seen as running until the kernel has taken it away.
    until = time.monotonic() + 20
    while is_running(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_running(pid)


def test_a_program_that_fails_says_why(day: Day) -> None:
    program = "print('error: no such recipe'); print('later'); raise SystemExit(2)"
    done = day.run("program", [sys.executable, "-c", program])
    assert done.fault == "exit code 2: error: no such recipe"


def test_the_page_and_the_json_hold_every_section(tmp_path: Path) -> None:
    page = "# Sweep\n\n```\n# a comment\n```\n"
    results = [
        Result("train", "bf16", "failed", 61.2, "fp16: 0.3 | nats", {"far": {"fp16 - fp32": 0.3}}),
        Result("sweep", "memory", "ok", 9.0, values={"rows": [{"memory": 1}], "page": page}),
        Result("nvml", "NVML", "skipped", 0.0, "no GPU here"),
    ]
    path = write_summary(HEAD, results, 70.5, tmp_path)
    assert path.name == "2026-11-28_nvidia-example_gpu-day.md"
    text = path.read_text(encoding="utf-8")
    assert "| train | bf16 | failed | 61 | fp16: 0.3 \\| nats |" in text
    assert "| nvml | NVML | skipped | 0 | no GPU here |" in text
    assert "| fp16 - fp32 | 0.3 |" in text
    assert "\n### Sweep\n\n```\n# a comment\n```" in text
    for needed in (HEAD.machine, HEAD.command, HEAD.commit, HEAD.date):
        assert needed in text
    told = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert told["device"] == "nvidia-example"
    assert [one["outcome"] for one in told["sections"]] == ["failed", "ok", "skipped"]
    assert told["sections"][1]["values"]["rows"] == [{"memory": 1}]
