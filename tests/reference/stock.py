"""Run `pretrain_gpt.py` of a Megatron-LM clone on a CPU, inside the project's stand-ins for CUDA.

    python -m tests.reference.stock CLONE ARGUMENTS...

The engine asks for few of CUDA's functions, stock Megatron for many: what
`patch_cuda_calls_to_cpu` lacks for it is added here. Nothing of the clone is changed.
"""

import functools
import importlib
import runpy
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import distributed
from torch.utils.data import DataLoader

from megatron_music.train.cpu import patch_cuda_calls_to_cpu

GPU = SimpleNamespace(
    major=9, minor=0, total_memory=80 << 30, name="a CPU", multi_processor_count=2
)


class Event:
    """A CUDA event where all work is done when it is recorded."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Take what an event of CUDA's takes."""

    def record(self, *_: Any) -> None:
        """Return at once."""

    def synchronize(self) -> None:
        """Return at once."""

    def elapsed_time(self, _end: "Event") -> float:
        """Return a millisecond: nothing is decided by it."""
        return 1.0


class Stream(Event):
    """A CUDA stream where all work is done when the call returns."""

    cuda_stream = 0

    def record_event(self, *_: Any) -> Event:
        """Return an event that has happened."""
        return Event()

    def wait_stream(self, _stream: Any) -> None:
        """Return at once."""

    def wait_event(self, _event: Any) -> None:
        """Return at once."""


def answers() -> dict[str, Any]:
    """Return what `torch.cuda`'s functions answer, by name."""
    zero = ("max_memory_allocated", "memory_allocated", "max_memory_reserved", "memory_reserved")
    nothing = ("set_device", "manual_seed", "empty_cache", "reset_peak_memory_stats", "set_stream")
    return {
        **{name: always(0) for name in zero},
        **{name: always(None) for name in nothing},
        "is_available": always(True),
        "device_count": always(1),
        "get_device_properties": always(GPU),
        "get_device_name": always(GPU.name),
        "get_device_capability": always((GPU.major, GPU.minor)),
        "get_rng_state": lambda *_, **__: torch.get_rng_state(),
        "memory_stats": lambda *_, **__: {},
        "current_stream": lambda *_, **__: Stream(),
        "stream": lambda *_: nullcontext(),
        "Event": Event,
        "Stream": Stream,
    }


def always(answer: Any) -> Callable[..., Any]:
    """Return a function of its own for each name: torch.compile tells functions apart by it."""
    return lambda *_, **__: answer


def with_gloo(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function of `torch.distributed` use gloo, whatever backend it is asked for."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        asked = {key: kwargs[key] for key in kwargs if key not in {"device_id", "pg_options"}}
        return function(*args, **asked | {"backend": "gloo"})

    return call


def without_pinning(make: Callable[..., None]) -> Callable[..., None]:
    """Let a DataLoader be made without pinned memory, which only a driver gives."""

    @functools.wraps(make)
    def call(*args: Any, **kwargs: Any) -> None:
        make(*args, **kwargs | {"pin_memory": False})

    return call


def skip_cuda_compiler() -> None:
    """Leave out the step of 0.16 that asks nvcc for its version, where the clone has it."""
    with suppress(ModuleNotFoundError):
        importlib.import_module("megatron.legacy.fused_kernels").load = always(None)


def main(clone: str, *arguments: str) -> None:
    """Run the clone's script as its own program."""
    sys.argv = [str(Path(clone) / "pretrain_gpt.py"), *arguments]
    sys.path.insert(0, clone)
    with patch_cuda_calls_to_cpu():
        for name, answer in answers().items():
            setattr(torch.cuda, name, answer)
        for name in ("init_process_group", "new_group"):
            setattr(distributed, name, with_gloo(getattr(distributed, name)))
        DataLoader.__init__ = without_pinning(DataLoader.__init__)
        # Optimizers ask CUDA whether it records a graph.
        torch.optim.Optimizer._accelerator_graph_capture_health_check = lambda _: None
        skip_cuda_compiler()
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
