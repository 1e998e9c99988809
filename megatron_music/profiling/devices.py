"""What a sweep measures on, and the peak it measures against.

torch is loaded in a process of its own, so that the sweep holds none of a GPU's memory while its
configurations run.
"""

import json
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import psutil

from megatron_music.costs.peaks import PRECISIONS, Peak, dense_peak, known_devices
from megatron_music.errors import MissingError
from megatron_music.files import write_text
from megatron_music.profiling.gemm import GemmPeak, measure_peak
from megatron_music.train import choices
from megatron_music.train.torch_build import refuse_unused_gpus

PEAKS_FILE = "peaks.json"

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
        """What computes, for a person."""
        return self.gpus[0].name if self.gpus else "this CPU"

    @property
    def precisions(self) -> tuple[str, ...]:
        """What the machine computes in, the best first; everything where that is not known."""
        if not self.gpus:
            return choices.cpu().precisions
        capability = self.gpus[0].capability
        return choices.gpu(self.name, capability).precisions if capability else PRECISIONS

    def room_bytes(self, processes: int) -> int | None:
        """Return the memory that each of so many processes has: a GPU's, or a share of all."""
        if not self.gpus:
            return None if self.memory_bytes is None else self.memory_bytes // processes
        rooms = [gpu.memory_bytes for gpu in self.gpus[:processes]]
        known = [room for room in rooms if room is not None]
        return min(known, default=None)

    def devices(self, processes: int) -> int:
        """Return how many devices so many processes use: GPUs, or the CPU that they share."""
        return processes if self.gpus else 1

    def environment(self, processes: int) -> dict[str, str]:
        """Return what the processes are told: on a CPU they share the cores."""
        if self.gpus:
            return {}
        return {"OMP_NUM_THREADS": str(max(1, self.cores // processes))}


def look_around() -> Machine:
    """Find the GPUs that torch can use; raises MissingError without torch."""
    memory_bytes = psutil.virtual_memory().total
    return Machine(_in_a_process(_gpus), len(os.sched_getaffinity(0)), memory_bytes)


class Peaks:
    """Peaks by exact device name, else measured, once for a sweep's folder."""

    def __init__(self, folder: Path, machine: Machine, say: Callable[[str], None]) -> None:
        self._path = folder / PEAKS_FILE
        self._machine = machine
        self._say = say

    def of(self, precision: str) -> tuple[str, Peak]:
        """Return the name of the device and its dense peak in TFLOP/s at a precision."""
        name = self._machine.gpus[0].name if self._machine.gpus else ""
        peak = dense_peak(name, precision) if name else None
        if peak is not None:
            return name, peak
        if name and name not in known_devices():
            self._say(f"no peak is known for '{name}': measuring what matrix products reach")
        measured = self._measured(precision)
        return measured.device, Peak(measured.tflops, _source(measured))

    def measure_again(self) -> dict[tuple[str, str], Peak]:
        """Measure once more what was measured; return the best, by device and precision.

        What else a machine does lowers a measured peak, never raises it.
        """
        known = self._read()
        for precision, before in known.items():
            again = _in_a_process(measure_peak, precision)
            known[precision] = max(before, again, key=lambda peak: peak.tflops)
        if known:
            self._write(known)
        return {
            (peak.device, peak.precision): Peak(peak.tflops, _source(peak))
            for peak in known.values()
        }

    def _measured(self, precision: str) -> GemmPeak:
        known = self._read()
        if precision not in known:
            known[precision] = _in_a_process(measure_peak, precision)
            self._write(known)
        return known[precision]

    def _write(self, known: dict[str, GemmPeak]) -> None:
        values = {key: asdict(peak) for key, peak in known.items()}
        write_text(self._path, json.dumps(values, indent=2) + "\n")

    def _read(self) -> dict[str, GemmPeak]:
        try:
            values = json.loads(self._path.read_text(encoding="utf-8"))
            return {key: GemmPeak(**value) for key, value in values.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}


def _source(peak: GemmPeak) -> str:
    threads = f", {peak.threads} threads" if peak.threads > 1 else ""
    return f"measured: products of {peak.size} x {peak.size} matrices{threads}"


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


def _turn_deaf() -> None:
    """Leave Ctrl-C to the sweep, which waits for the answer before it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _in_a_process(work: Callable[..., Result], *arguments: object) -> Result:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_turn_deaf) as pool:
        return pool.submit(work, *arguments).result()
