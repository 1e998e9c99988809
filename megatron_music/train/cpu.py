"""Let Megatron's own DDP, optimizers, schedules and checkpoints run on CPU tensors.

Nothing in megatron is patched: a `TorchFunctionMode` (public torch API) answers requests for
CUDA tensors with CPU ones, and a few functions of `torch.cuda` have stand-ins, for as long as the
context manager is open.
"""

import ctypes
import mmap
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

CPU = torch.device("cpu")


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h
_LARGEST_INT = (1 << 31) - 1
_MADV_HUGEPAGE = 14  # sys/mman.h
_HEAP_BYTES = 1 << 30
"""Addresses alone: memory is taken as it is written to."""


def keep_freed_memory() -> None:
    """Have glibc keep what is freed for the next iteration, as the GPU's allocator does.

    Otherwise it returns large tensors to the system, and each reuse costs a page fault every
    4 KiB. The kept memory is on large pages, where Linux gives them on request.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):  # not so in other C libraries
        return
    libc.mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT)
    libc.mallopt(_M_MMAP_MAX, 0)  # large tensors come from the heap, too
    libc.malloc.restype = ctypes.c_void_p
    heap = libc.malloc(ctypes.c_size_t(_HEAP_BYTES))
    if heap:
        begin = -(-heap // mmap.PAGESIZE) * mmap.PAGESIZE
        size_bytes = ctypes.c_size_t(heap + _HEAP_BYTES - begin)
        libc.madvise(ctypes.c_void_p(begin), size_bytes, _MADV_HUGEPAGE)
        libc.free(ctypes.c_void_p(heap))


@contextmanager
def patch_cuda_calls_to_cpu(device: torch.device = CPU) -> Iterator[None]:
    """Answer `device="cuda"`, `.cuda()` and stream calls with the CPU while open.

    `device` may be another one without CUDA: the rehearsal's tensors have their own.
    """
    stand_ins: list[tuple[ModuleType, str, Any]] = [
        (torch.cuda, "current_device", lambda: device),
        (torch.cuda, "synchronize", lambda *_, **__: None),
        (torch.cuda, "current_stream", lambda *_, **__: _Stream()),
        # Recomputation saves the GPU's generator, too; here the CPU's is the only one.
        (torch.cuda.random, "get_rng_state", lambda *_, **__: torch.get_rng_state()),
        # Calls that wait for CUDA to start, which it never does.
        (torch.cuda, "_queued_calls", deque(maxlen=0)),
    ]
    with ExitStack() as stack:
        for module, name, value in stand_ins:
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, value)
        stack.enter_context(_CudaToCpu(device))
        yield


class _Stream:
    """A CUDA stream on a machine without one: all work is done when the call returns."""

    def wait_stream(self, _stream: Any) -> None:
        """Return at once."""

    def wait_event(self, _event: Any) -> None:
        """Return at once."""

    def synchronize(self) -> None:
        """Return at once."""


class _CudaToCpu(TorchFunctionMode):
    """Redirects CUDA placement; tensors say a CUDA type, which Megatron asks for."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if "device" in kwargs and _is_cuda(kwargs["device"]):
            kwargs["device"] = self._device
        if func is torch.Tensor.cuda:
            return args[0].to(self._device)
        if func is torch.Tensor.type and len(args) == 1 and not kwargs:
            return func(*args).replace("torch.", "torch.cuda.", 1)
        if func is torch.Tensor.to and len(args) > 1 and _is_cuda(args[1]):
            args = (args[0], self._device, *args[2:])
        return func(*args, **kwargs)


def _is_cuda(device: Any) -> bool:
    if isinstance(device, torch.device):
        return device.type == "cuda"
    return isinstance(device, str) and device.startswith("cuda")
