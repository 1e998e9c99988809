"""Named ranges of profiled iterations: NVTX ranges on a GPU, times on a CPU.

With `log.use_pytorch_profiler` torch's profiler records the same names (`TorchTrace`).

Megatron's schedules start and stop a timer around each forward and backward pass, the reduction of
gradients and what pipeline stages send one another, wherever `config.timers` is set. Here those
timers open and close the ranges `forward`, `backward` and `communication` inside `iteration N`;
`data` and `optimizer` come from our own step. Tensor parallel communication is part of the
passes, and what a distributed optimizer gathers is in `optimizer`; on a GPU the kernels show it.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch.autograd.profiler import record_function

from megatron_music.config import LogConfig
from megatron_music.files import atomic_write
from megatron_music.train.distributed import ParallelContext
from megatron_music.train.optimizer import TrainState

Item = TypeVar("Item")

REST = "other"
"""The time of an iteration outside of all ranges: seeds, clearing gradients."""

_PASSES = {"forward-compute": "forward", "backward-compute": "backward"}
_EXCHANGES = ("-grads-sync", "-all-reduce", "-recv", "-send")


class _Open:
    """A range that was opened, and the seconds spent in those inside it."""

    def __init__(self, name: str) -> None:
        self.name, self.since_s, self.inner_s = name, time.perf_counter(), 0.0


class PhaseTimers:
    """Named ranges of the profiled iterations; no effect in other iterations."""

    def __init__(self, log: LogConfig, context: ParallelContext, trace: Path | None = None) -> None:
        traced = trace if log.use_pytorch_profiler and context.is_first else None
        self._trace = None if traced is None else TorchTrace(traced, context.is_cuda)
        self._chosen = range(log.profile_step_start + 1, log.profile_step_end + 1)
        self._context = context
        self._is_open = self._captures = False
        self._names: list[str] = []
        self._stack: list[_Open] = []
        self._times_s: dict[str, float] = {}
        self._iterations = 0

    def watch(self, train_state: TrainState) -> None:
        """Have Megatron's schedules open and close ranges, if any iteration is profiled."""
        if self._chosen:
            train_state.model.config.timers = self

    @contextmanager
    def iteration(self, number: int) -> Iterator[None]:
        """Name an iteration; rank 0 starts the profiler's capture at the first one chosen."""
        if number not in self._chosen:
            yield
            return
        self._capture(True)
        self._is_open = True
        with self.phase(f"iteration {number}"):
            yield
            if self._context.is_cuda:  # what the iteration launched belongs to it
                torch.cuda.synchronize()
        self._is_open = False
        self._iterations += 1
        if number == self._chosen[-1]:
            self._capture(False)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Name a part of an iteration."""
        self.push(name)
        yield
        self.pop()

    def each(self, items: Iterable[Item], name: str) -> Iterator[Item]:
        """Yield the items; the wait for each is a range next to the open one, not inside it.

        Megatron's schedules ask for a microbatch inside their forward pass.
        """
        waiting, end = iter(items), object()
        while True:
            # The schedule is inside its forward range when it asks for data: that range is left
            # meanwhile.
            outer = self._names[-1] if len(self._names) > 1 else ""
            if outer:
                self.pop()
            with self.phase(name):
                item = next(waiting, end)
            if outer:
                self.push(outer)
            if item is end:
                return
            yield cast("Item", item)

    def push(self, name: str) -> None:
        """Open a range inside those that are open."""
        if not self._is_open:
            return
        self._names.append(name)
        if self._trace is not None:
            self._trace.push(name)
        if self._context.is_cuda:
            torch.cuda.nvtx.range_push(name)  # type: ignore[no-untyped-call]
        else:
            self._stack.append(_Open(name if self._stack else REST))

    def pop(self) -> None:
        """Close the innermost range."""
        if not self._is_open:
            return
        self._names.pop()
        if self._trace is not None:
            self._trace.pop()
        if self._context.is_cuda:
            torch.cuda.nvtx.range_pop()  # type: ignore[no-untyped-call]
            return
        done = self._stack.pop()
        elapsed_s = time.perf_counter() - done.since_s
        if self._stack:
            self._stack[-1].inner_s += elapsed_s
        own_s = self._times_s.get(done.name, 0.0) + elapsed_s - done.inner_s
        self._times_s[done.name] = own_s

    def take(self) -> dict[str, float]:
        """Return seconds an iteration by phase since the last call, each without its inner ranges.

        Empty where nothing was chosen, and on a GPU, where the CPU's times say little.
        """
        found = {name: time_s / self._iterations for name, time_s in self._times_s.items()}
        self._times_s, self._iterations = {}, 0
        return found

    def __call__(self, name: str, log_level: int | None = None) -> "_Timer":  # noqa: ARG002
        """Return a substitute for Megatron's timer of this name."""
        exchanges = any(part in name for part in _EXCHANGES)
        return _Timer(self, _PASSES.get(name, "communication" if exchanges else ""))

    def _capture(self, wanted: bool) -> None:
        """Open or close torch's trace and the range that nsys waits for (`cudaProfilerApi`)."""
        if wanted == self._captures:
            return
        self._captures = wanted
        if self._trace is not None:
            self._trace.start() if wanted else self._trace.stop()
        if self._context.is_cuda and self._context.is_first:
            torch.cuda.synchronize()
            # `nsys --capture-range=cudaProfilerApi` records between these two calls.
            (torch.cuda.profiler.start if wanted else torch.cuda.profiler.stop)()  # type: ignore[no-untyped-call]


class _Timer:
    """A timer that Megatron starts and stops; it opens a range, or nothing without a phase."""

    def __init__(self, timers: PhaseTimers, phase: str) -> None:
        self._timers, self._phase = timers, phase

    def start(self, barrier: bool = False) -> None:  # noqa: ARG002
        """Open the range."""
        if self._phase:
            self._timers.push(self._phase)

    def stop(self, barrier: bool = False) -> None:  # noqa: ARG002
        """Close it."""
        if self._phase:
            self._timers.pop()


class TorchTrace:
    """Record operators, kernels and named ranges from `start` to `stop`, which writes the file."""

    def __init__(self, path: Path, is_cuda: bool) -> None:
        activities = [torch.profiler.ProfilerActivity.CPU]
        if is_cuda:
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        self._path = path
        self._profiler = torch.profiler.profile(activities=activities)
        self._open: list[record_function] = []

    def start(self) -> None:
        """Begin to record."""
        self._profiler.start()

    def push(self, name: str) -> None:
        """Open a range inside those that are open."""
        self._open.append(record_function(name))
        self._open[-1].__enter__()  # type: ignore[no-untyped-call]

    def pop(self) -> None:
        """Close the innermost range."""
        self._open.pop().__exit__(None, None, None)

    def stop(self) -> None:
        """End the recording and write it; raises WriteError."""
        self._profiler.stop()
        with atomic_write(self._path) as temporary:
            self._profiler.export_chrome_trace(str(temporary))
