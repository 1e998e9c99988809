"""The hardware of a sweep: GPUs, the CPU's load, and the peak of the device.

torch is loaded in a separate process, so that the sweep holds none of a GPU's memory while its
configurations run.
"""

import json
import os
import platform
import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import psutil

from megatron_music.costs.devices import PRECISIONS, Peak, dense_peak, known_devices
from megatron_music.errors import MissingError, UsageError
from megatron_music.files import write_text
from megatron_music.train import backends
from megatron_music.train.torch_build import refuse_unused_gpus

PEAKS_FILE = "peaks.json"

INTERVAL_S = 0.5
"""Between two lines of the CPU's load."""

# A data sheet's peak is for a clock that a device seldom holds, and a CPU has none: what torch
# reaches on square products is what a model could at most reach here.
BUDGET_S = 3.0

GPU_ROUND_S, GPU_ROUNDS = 0.05, 5
"""A round of products takes at least this long: the GPU's queue is full, launches do not matter."""

CPU_ROUND_S, CPU_ROUNDS = 0.004, 60
"""A round is this short, so that some are not disturbed by other work on the machine."""

SIZES = (256, 512, 1024, 2048, 4096, 8192, 16384)

SHARE_OF_BUDGET = 0.4
"""The next size is tried only if one of its products fits into this share of what is left."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Gpu:
    """A GPU as torch sees it, in torch's order."""

    name: str
    uuid: str
    memory_bytes: int | None = None
    capability: tuple[int, int] | None = None
    """Of CUDA."""


@dataclass(frozen=True)
class Machine:
    """The GPUs that processes started here would use, and the cores."""

    gpus: tuple[Gpu, ...]
    cores: int
    memory_bytes: int | None = None
    """The CPU's."""

    @property
    def name(self) -> str:
        """The name of the device, for messages."""
        return self.gpus[0].name if self.gpus else "this CPU"

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions of the machine, the best first; all if they are not known."""
        if not self.gpus:
            return backends.cpu().precisions
        capability = self.gpus[0].capability
        return backends.gpu(self.name, capability).precisions if capability else PRECISIONS

    def room_bytes(self, processes: int) -> int | None:
        """Return the memory that each process has: a GPU's, or a share of the CPU's."""
        if not self.gpus:
            return None if self.memory_bytes is None else self.memory_bytes // processes
        rooms = [gpu.memory_bytes for gpu in self.gpus[:processes]]
        known = [room for room in rooms if room is not None]
        return min(known, default=None)

    def devices(self, processes: int) -> int:
        """Return how many devices the processes use: GPUs, or the CPU that they share."""
        return processes if self.gpus else 1

    def environment(self, processes: int) -> dict[str, str]:
        """Return the environment variables of the processes: on a CPU they share the cores."""
        if self.gpus:
            return {}
        return {"OMP_NUM_THREADS": str(max(1, self.cores // processes))}


class Peaks:
    """Peaks by exact device name, else measured, once for a sweep's folder."""

    def __init__(self, folder: Path, machine: Machine, say: Callable[[str], None]) -> None:
        self._path = folder / PEAKS_FILE
        self._machine = machine
        self._say = say

    def of(self, precision: str) -> Peak:
        """Return the dense peak of the device at a precision."""
        name = self._machine.gpus[0].name if self._machine.gpus else ""
        peak = dense_peak(name, precision) if name else None
        if peak is not None:
            return peak
        if name and name not in known_devices():
            self._say(f"no peak is known for '{name}': measuring what matrix products reach")
        known = self._read()
        if precision not in known:
            known[precision] = run_in_subprocess(measure_peak, precision)
            self._write(known)
        return known[precision]

    def measure_again(self) -> dict[tuple[str, str], Peak]:
        """Measure once more what was measured; return the best, by device and precision.

        Other work on a machine lowers a measured peak and never raises it.
        """
        known = self._read()
        for precision, before in known.items():
            again = run_in_subprocess(measure_peak, precision)
            known[precision] = max(before, again, key=lambda peak: peak.tflops)
        if known:
            self._write(known)
        return {(peak.device, precision): peak for precision, peak in known.items()}

    def _write(self, known: dict[str, Peak]) -> None:
        values = {precision: asdict(peak) for precision, peak in known.items()}
        write_text(self._path, json.dumps(values, indent=2) + "\n")

    def _read(self) -> dict[str, Peak]:
        try:
            values = json.loads(self._path.read_text(encoding="utf-8"))
            return {precision: Peak(**value) for precision, value in values.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}


class LoadRecorder:
    """Writes the load to a file at each call, at most twice a second."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last_s = time.monotonic()
        psutil.cpu_percent()  # counts from here

    def poll(self) -> None:
        """Write a line if one is due."""
        now = time.monotonic()
        if now - self._last_s < INTERVAL_S:
            return
        self._last_s = now
        load = {
            "time_s": time.time(),  # Unix time
            "cpu_percent": psutil.cpu_percent(),  # of all cores, since the last look
            "memory_used_bytes": psutil.virtual_memory().used,
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(load) + "\n")


def detect_hardware() -> Machine:
    """Find the GPUs that torch can use; raises MissingError without torch."""
    memory_bytes = psutil.virtual_memory().total
    return Machine(run_in_subprocess(_gpus), len(os.sched_getaffinity(0)), memory_bytes)


def _gpus() -> tuple[Gpu, ...]:
    try:
        import torch
    except ImportError as fault:
        raise MissingError(
            "a sweep needs torch; install it: pip install 'megatron-music[train]'"
        ) from fault
    if not torch.cuda.is_available():
        refuse_unused_gpus()
    found = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return tuple(
        Gpu(one.name, str(one.uuid), one.total_memory, (one.major, one.minor)) for one in found
    )


def run_in_subprocess(work: Callable[..., Result], *arguments: object) -> Result:
    """Return what a function returns in a process of its own."""
    # The sweep handles Ctrl-C: it waits for the answer before it ends.
    with ProcessPoolExecutor(
        1,
        mp_context=get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    ) as pool:
        return pool.submit(work, *arguments).result()


def measure_peak(
    precision: str = "fp32", device: str | None = None, budget_s: float = BUDGET_S
) -> Peak:
    """Time square matrix products of growing size for about `budget_s` seconds; keep the best.

    `device` is torch's name for it (`cpu`, `cuda`, `cuda:1`), by default a GPU if there is one.
    fp32 follows torch's settings: TF32 only where it was switched on. Raises UsageError for an
    unknown precision or device, MissingError without torch.
    """
    try:
        import torch
    except ImportError as fault:
        raise MissingError(
            "measuring a peak needs torch; install it: pip install 'megatron-music[train]'"
        ) from fault
    gpus = torch.cuda.device_count()
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if precision not in PRECISIONS:
        raise UsageError(
            f"cannot measure the precision '{precision}'; choose {', '.join(PRECISIONS)}"
        )
    known = {"cpu", *(["cuda"] if gpus else []), *(f"cuda:{index}" for index in range(gpus))}
    if chosen not in known:
        raise UsageError(f"there is no device '{chosen}' here; choose {', '.join(sorted(known))}")
    is_gpu = chosen.startswith("cuda")
    begin = time.perf_counter()
    best, best_size = 0.0, SIZES[0]
    for size in SIZES:
        timed = product_timer(precision, chosen, size)
        # A short first product is timed again: the first one loads libraries.
        first_s = timed(1)
        once_s = first_s if first_s > GPU_ROUND_S else min(first_s, timed(1))
        rate = _best_rate(timed, size, once_s, begin + budget_s, is_gpu)
        if rate > best:
            best, best_size = rate, size
        # The next size takes eight times as long.
        if 8 * once_s > SHARE_OF_BUDGET * (begin + budget_s - time.perf_counter()):
            break
    threads = 1 if is_gpu else torch.get_num_threads()
    told = f", {threads} threads" if threads > 1 else ""
    return Peak(
        tflops=best / 1e12,
        source=f"measured: products of {best_size} x {best_size} matrices{told}",
        device=torch.cuda.get_device_name(chosen) if is_gpu else cpu_name(),
    )


def cpu_name() -> str:
    """Return the CPU's name as the system has it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "cpu"


def product_timer(precision: str, device: str, size: int) -> Callable[[int], float]:
    """Return a function that runs N products of this size and returns the seconds they took."""
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    one = torch.randn((size, size), device=device).to(dtype)
    other = torch.randn((size, size), device=device).to(dtype)
    result = torch.empty_like(one)
    wait: Callable[[], None] = torch.cuda.synchronize if one.is_cuda else lambda: None

    def timed(repeats: int) -> float:
        """Return the seconds of so many products."""
        wait()
        begin = time.perf_counter()
        for _ in range(repeats):
            torch.mm(one, other, out=result)
        wait()
        return time.perf_counter() - begin

    return timed


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
