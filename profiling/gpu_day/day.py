"""A day on a machine: sections with budgets, each with its outcome, whatever the others come to."""

import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from megatron_music.profiling.sweep.hardware import Machine
from profiling.gpu_day import commands
from profiling.gpu_day.commands import Done

Outcome = Literal["ok", "failed", "skipped"]

SPARE_S = 5.0
"""Of the day, for the summary."""

DRY_SLACK = 6
"""A dry run may share two cores with other work."""


@dataclass
class Day:
    """What the sections share: where things are, the machine, and how long there still is."""

    root: Path
    output: Path
    work: Path
    """Runs and models; removed at the end."""
    data: Path
    machine: Machine
    model: Path | None
    """An exported model to compose with; None for the one that the section `train` exports."""
    until: float
    """Of the monotonic clock: the end of the day, inside a section that of the section."""
    python: str

    @property
    def is_dry(self) -> bool:
        """Whether this is a dry run: without a GPU, in small sizes."""
        return not self.machine.gpus

    @property
    def left_s(self) -> float:
        """Seconds until the end."""
        return max(0.0, self.until - time.monotonic())

    def log(self, name: str) -> Path:
        """Return where the output of a program of this name goes."""
        return self.output / "logs" / f"{name}.txt"

    def run(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
    ) -> Done:
        """Run a program from the checkout's root, until the section's end at most."""
        log = self.log(name)
        return commands.run(command, log, lambda: self.left_s, self.root, environment)

    def music(self, *words: str) -> list[str]:
        """Return a command of the project."""
        return [self.python, "-m", "megatron_music", *words]


@dataclass
class Found:
    """What a section found: values for JSON, and every fault in a line."""

    values: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def check(self, name: str, fault: str) -> bool:
        """Note the fault of something, if it is one; return whether there is none."""
        if fault:
            self.faults.append(f"{name}: {fault}")
        return not fault


def _everywhere(_: Day) -> str:
    return ""


@dataclass(frozen=True)
class Section:
    """A part of the day. `proves` says which of docs/training.md's never-run lines it settles."""

    name: str
    proves: str
    work: Callable[[Day], Found]
    needs_s: float
    """It is not begun with less time than that."""
    limit_s: float
    absent: Callable[[Day], str] = _everywhere
    """Why this machine cannot run it, else empty."""


@dataclass(frozen=True)
class Result:
    """What became of a section."""

    name: str
    proves: str
    outcome: Outcome
    seconds: float
    reason: str = ""
    values: dict[str, Any] = field(default_factory=dict)


def run_day(
    day: Day,
    sections: Sequence[Section],
    only: Collection[str],
    say: Callable[[str], None],
    keep: Callable[[Sequence[Result]], None],
) -> list[Result]:
    """Run the sections in their order; `keep` is given what there is after each of them."""
    results: list[Result] = []
    for section in sections:
        reason = _why_not(day, section, only)
        if reason:
            result = Result(section.name, section.proves, "skipped", 0.0, reason)
        else:
            say(f"{section.name}: begins, {day.left_s:.0f} s left")
            result = _run(day, section)
        results.append(result)
        why = f": {result.reason}" if result.reason else ""
        say(f"{section.name}: {result.outcome}, {result.seconds:.0f} s{why}")
        keep(results)
    return results


def _why_not(day: Day, section: Section, only: Collection[str]) -> str:
    if only and section.name not in only:
        return "not asked for"
    if absent := section.absent(day):
        return absent
    if day.left_s - SPARE_S < section.needs_s:
        return f"{day.left_s:.0f} s left of {section.needs_s:.0f} s that it needs"
    return ""


def _run(day: Day, section: Section) -> Result:
    begin, end = time.monotonic(), day.until
    limit_s = section.limit_s * (DRY_SLACK if day.is_dry else 1)
    day.until = min(end - SPARE_S, begin + limit_s)
    try:
        found = section.work(day)
    except Exception as fault:  # the other sections are still worth their time
        log = day.log(section.name)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.with_suffix(".error.txt").write_text(traceback.format_exc(), encoding="utf-8")
        found = Found(faults=[f"{type(fault).__name__}: {fault}"])
    finally:
        day.until = end
    outcome: Outcome = "failed" if found.faults else "ok"
    seconds = time.monotonic() - begin
    reason = "; ".join(found.faults)
    return Result(section.name, section.proves, outcome, seconds, reason, found.values)
