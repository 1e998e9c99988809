"""A trace by torch's own profiler, which needs no program beside torch.

`megatron-music profile nsight RUN/trace.json.gz` reads it. Recording every operator slows the CPU
down: the GPU idles more than in a run without a trace.
"""

from pathlib import Path

import torch
from torch.autograd.profiler import record_function

from megatron_music.files import complete


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
        with complete(self._path) as temporary:
            self._profiler.export_chrome_trace(str(temporary))
