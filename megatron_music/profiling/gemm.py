"""The attainable peak of the device at hand: the best that plain matrix products reach.

A data sheet's peak is for a clock that a device seldom holds, and a laptop has none. What torch
reaches on square products is what a model could at most reach here, so that a utilisation means
something on a CPU as well.
"""

import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from megatron_music.costs.peaks import PRECISIONS
from megatron_music.errors import MissingError, UsageError

BUDGET_S = 3.0
GPU_ROUND_S, GPU_ROUNDS = 0.05, 5
"""A round of products takes at least this long: the GPU's queue is full, launches do not matter."""

CPU_ROUND_S, CPU_ROUNDS = 0.004, 60
"""Short enough that some round is not disturbed by other work on the machine."""

SIZES = (256, 512, 1024, 2048, 4096, 8192, 16384)
SHARE_OF_BUDGET = 0.4
"""The next size is tried only if one of its products fits into this share of what is left."""


@dataclass(frozen=True)
class GemmPeak:
    """The best rate measured, and what it was measured on."""

    tflops: float
    size: int
    """Width of the square matrices."""
    precision: str
    device: str
    threads: int
    """Threads that torch used on a CPU; 1 on a GPU."""
    seconds: float
    """How long the measurement took."""


def measure_peak(
    precision: str = "fp32", device: str | None = None, budget_s: float = BUDGET_S
) -> GemmPeak:
    """Time square matrix products of growing size for about `budget_s` seconds; keep the best.

    `device` is torch's name for it (`cpu`, `cuda`, `cuda:1`), by default a GPU if there is one.
    fp32 follows torch's settings: TF32 only where it was switched on. Raises UsageError for a
    precision or a device that there is not, MissingError without torch.
    """
    torch = _torch()
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    _check(precision, chosen)
    begin = time.perf_counter()
    best, best_size = 0.0, SIZES[0]
    for size in SIZES:
        timed = _timer(precision, chosen, size)
        once_s = _once(timed)
        rate = _best_rate(timed, size, once_s, begin + budget_s, chosen.startswith("cuda"))
        if rate > best:
            best, best_size = rate, size
        if 8 * once_s > SHARE_OF_BUDGET * (begin + budget_s - time.perf_counter()):
            break
    return GemmPeak(
        tflops=best / 1e12,
        size=best_size,
        precision=precision,
        device=_name(chosen),
        threads=torch.get_num_threads() if chosen.startswith("cpu") else 1,
        seconds=time.perf_counter() - begin,
    )


def _torch() -> ModuleType:
    try:
        import torch
    except ImportError as fault:
        raise MissingError(
            "measuring a peak needs torch; install it: pip install 'megatron-music[train]'"
        ) from fault
    return torch


def _check(precision: str, device: str) -> None:
    torch = _torch()
    if precision not in PRECISIONS:
        raise UsageError(
            f"cannot measure the precision '{precision}'; choose {', '.join(PRECISIONS)}"
        )
    gpus = torch.cuda.device_count()
    known = {"cpu", *(["cuda"] if gpus else []), *(f"cuda:{index}" for index in range(gpus))}
    if device not in known:
        raise UsageError(f"there is no device '{device}' here; choose {', '.join(sorted(known))}")


def _name(device: str) -> str:
    """Return the name that the driver gives a GPU, or what the CPU is called."""
    if device.startswith("cuda"):
        return str(_torch().cuda.get_device_name(device))
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "cpu"


def _timer(precision: str, device: str, size: int) -> Callable[[int], float]:
    """Return what runs so many products of this size and tells the seconds they took."""
    torch = _torch()
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    one = torch.randn((size, size), device=device).to(dtype)
    other = torch.randn((size, size), device=device).to(dtype)
    result = torch.empty_like(one)
    wait = torch.cuda.synchronize if device.startswith("cuda") else _nothing

    def timed(repeats: int) -> float:
        wait()
        begin = time.perf_counter()
        for _ in range(repeats):
            torch.mm(one, other, out=result)
        wait()
        return time.perf_counter() - begin

    return timed


def _nothing() -> None:
    pass


def _once(timed: Callable[[int], float]) -> float:
    """Return the seconds of one product; a short one is timed again, now that all is loaded."""
    first = timed(1)
    return first if first > GPU_ROUND_S else min(first, timed(1))


def _best_rate(
    timed: Callable[[int], float], size: int, once_s: float, until: float, is_gpu: bool
) -> float:
    """Return FLOP/s of the fastest round, as far as there is time for them."""
    operations = 2 * size**3
    round_s, rounds = (GPU_ROUND_S, GPU_ROUNDS) if is_gpu else (CPU_ROUND_S, CPU_ROUNDS)
    repeats = max(1, round(round_s / max(once_s, 1e-9)))
    best = operations / once_s
    for _ in range(rounds):
        if time.perf_counter() > until:
            break
        best = max(best, operations * repeats / timed(repeats))
    return best
