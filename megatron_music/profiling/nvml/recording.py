"""Record the GPUs ten times a second, in a separate process, and sum up such a recording.

    with record(Path("gpus.jsonl")) as recording:
        ...

One line of JSON a sample. The recorder stops when it is asked to, and by itself when the process
that started it is gone: it reads from a pipe that only its parent holds, and watches its parent.
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import IO, NamedTuple, TypeVar

from megatron_music import errors
from megatron_music.errors import InputError, MusicError, UsageError, WriteError
from megatron_music.files import os_error_reason, write_cure
from megatron_music.profiling.nvml.reader import (
    DeviceSample,
    Sample,
    from_json,
    open_nvml,
    plain_uuid,
    to_json,
)
from megatron_music.profiling.nvml.reader import select as select_gpus

INTERVAL_S = 0.1
PATIENCE_S = 0.5
"""The longest wait without a look at whether to stop."""

STOP_S = 5.0
"""How long the recorder is given to write its last line."""

READY = "ready"
MJ_PER_J = 1000

Value = TypeVar("Value")


class Recording:
    """A running recorder, and how it ended."""

    def __init__(self, path: Path, process: subprocess.Popen[str]) -> None:
        self.path = path
        self.pid = process.pid
        self.problem: str | None = None
        self._process = process

    def stop(self) -> str | None:
        """Stop the recorder; return why it ended before it was asked to, None if it did not."""
        with suppress(OSError, ValueError):
            _pipe(self._process.stdin).close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            self.problem = f"the recorder of {self.path} hung and was ended"
            return self.problem
        message = _pipe(self._process.stdout).read().strip()
        if self._process.returncode and self.problem is None:
            self.problem = message or f"the recorder ended with code {self._process.returncode}"
        return self.problem


@contextmanager
def record(
    path: Path, uuids: Sequence[str] | None = None, interval_s: float = INTERVAL_S
) -> Iterator[Recording]:
    """Record the GPUs of these UUIDs (None means all) to `path` while the block runs.

    Returns once the first sample is written. Raises MissingError where there is no NVML, InputError
    for an unknown UUID, WriteError for a place that cannot be written. What goes wrong later does
    not disturb the block: see `recording.problem` afterwards.
    """
    if not interval_s > 0:
        raise UsageError(f"the interval has to be above 0 s (got {interval_s}); 0.1 is usual")
    chosen = [] if uuids is None else ["--", *uuids]
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(path), str(interval_s), str(os.getpid()), *chosen],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    answer = _pipe(process.stdout).readline().strip()
    recording = Recording(path, process)
    if answer != READY:
        recording.stop()
        kind, _, message = answer.partition(": ")
        error = getattr(errors, kind, MusicError)
        raise error(message or f"the recorder of {path} did not start; see the lines above")

    try:
        yield recording
    finally:
        recording.stop()


def main(arguments: Sequence[str]) -> int:
    """Be the recorder: FILE SECONDS PARENT [-- UUID ...]; return the exit code."""
    path, interval_s, parent, *chosen = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then stops this
    # Noted, not obeyed at once: a line is never cut by it.
    requests: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: requests.append(number))
    try:
        with open_nvml() as reader:
            uuids = chosen[1:] if chosen else None
            _record(
                Path(path),
                lambda: to_json(select_gpus(reader.sample(), uuids)),
                float(interval_s),
                # A pipe that another child has inherited stays open when the parent dies.
                lambda: bool(requests) or os.getppid() != int(parent),
            )
    except MusicError as fault:
        with suppress(OSError):
            print(f"{type(fault).__name__}: {fault}", flush=True)
        return fault.exit_code
    return 0


def _record(
    path: Path, line: Callable[[], str], interval_s: float, stopped: Callable[[], bool]
) -> None:
    """Write a line at every beat of the interval; a beat that was missed is left out."""
    first = line()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Each line in one write: who reads meanwhile, or after a kill, finds whole lines.
        with path.open("wb", buffering=0) as file:
            file.write(first.encode() + b"\n")
            with suppress(BrokenPipeError):
                print(READY, flush=True)
            begin = time.monotonic()
            # Beats are counted from the beginning, not from the last line: the writing does not add
            # up.
            while not _waited(begin, interval_s, stopped):
                file.write(line().encode() + b"\n")
    except OSError as fault:
        raise WriteError(
            f"cannot write {path}: {os_error_reason(fault)}; {write_cure(fault)}"
        ) from fault


def _waited(begin: float, interval_s: float, stopped: Callable[[], bool]) -> bool:
    """Wait for the next beat; return True as soon as it is time to stop."""
    beats = int((time.monotonic() - begin) / interval_s) + 1
    while (left_s := begin + beats * interval_s - time.monotonic()) > 0:
        asked, _, _ = select.select([sys.stdin], [], [], min(left_s, PATIENCE_S))
        if asked or stopped():
            return True
    return stopped()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise RuntimeError("the recorder was started without its pipes")
    return pipe


class DeviceSummary(NamedTuple):
    """One GPU over a recording; None where its samples lack a figure."""

    samples: int
    mean_utilization: float | None
    """Percent, mean over the samples; a share of time with some kernel, not of the peak."""
    max_memory_bytes: int | None
    mean_sm_clock_mhz: float | None
    mean_power_w: float | None
    max_temperature_c: int | None
    energy_j: float | None
    """From the energy counter, never from summed power."""
    throttled: dict[str, float]
    """Share of the samples in which each reason held the clocks down."""
    is_mig: bool
    """The GPU was split: its figures are those of all its parts together."""

    @classmethod
    def of(cls, samples: Sequence[DeviceSample]) -> "DeviceSummary":
        """Sum up the samples of one GPU."""
        counter = _known(sample.energy_mj for sample in samples)
        # A reset of the driver sets the counter to 0.
        grown = [
            after - before if after >= before else after for before, after in pairwise(counter)
        ]
        memory = _known(sample.memory_used_bytes for sample in samples)
        reasons = Counter(one for sample in samples for one in sample.throttle_reasons or ())
        return cls(
            samples=len(samples),
            mean_utilization=_mean(sample.gpu_utilization for sample in samples),
            max_memory_bytes=max(memory, default=None),
            mean_sm_clock_mhz=_mean(sample.sm_clock_mhz for sample in samples),
            mean_power_w=_mean(sample.power_w for sample in samples),
            max_temperature_c=max(_known(one.temperature_c for one in samples), default=None),
            energy_j=sum(grown) / MJ_PER_J if grown else None,
            throttled={reason: count / len(samples) for reason, count in reasons.most_common()},
            is_mig=any(sample.mig_uuids is not None for sample in samples),
        )


def read_samples(path: Path) -> list[Sample]:
    """Return the samples of a recording; a last line that was cut off is left out."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as fault:
        raise InputError(f"cannot read {path}: {fault.strerror}; check the name") from fault
    # What follows the last line end is empty, or a line that a kill cut off.
    *whole, _cut = lines
    samples = []
    for number, line in enumerate(whole, start=1):
        try:
            samples.append(from_json(line))
        except InputError as fault:
            raise InputError(f"{path}, line {number}: {fault}") from fault
    if not samples:
        raise InputError(f"{path} holds no sample; record it again")
    return samples


def summarize(
    samples: Sequence[Sample], start_s: float | None = None, end_s: float | None = None
) -> tuple[float, list[DeviceSummary]]:
    """Sum up the samples between two moments (Unix time), such as those after the warm-up.

    Returns their length in seconds, and each GPU.
    """
    chosen = [
        sample
        for sample in samples
        if (start_s is None or sample.time_s >= start_s)
        and (end_s is None or sample.time_s <= end_s)
    ]
    if not chosen:
        raise InputError(f"none of {len(samples)} samples is in the requested time")
    found: dict[str, list[DeviceSample]] = {}
    for sample in chosen:
        for device in sample.devices:
            # By UUID: a driver that restarts may number the GPUs otherwise.
            key = plain_uuid(device.uuid) if device.uuid else f"index {device.index}"
            found.setdefault(key, []).append(device)
    return chosen[-1].time_s - chosen[0].time_s, [DeviceSummary.of(one) for one in found.values()]


def total_energy_j(devices: Sequence[DeviceSummary]) -> float | None:
    """Return the energy of all GPUs, None if one of them does not count it."""
    known = _known(device.energy_j for device in devices)
    return sum(known) if known and len(known) == len(devices) else None


def _known(values: Iterable[Value | None]) -> list[Value]:
    return [value for value in values if value is not None]


def _mean(values: Iterable[float | None]) -> float | None:
    known = _known(values)
    return fmean(known) if known else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
