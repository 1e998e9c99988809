"""What ran on each device of a capture, and the ranges that the program named, as numpy columns."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from megatron_music.profiling.intervals import Times
from megatron_music.profiling.nsight.export import COPIES, GRAPHS, KERNELS, RANGES, STRINGS, Export

PID_UNIT = 1 << 24
"""A global process id is `(host and process) * 2^24`; a thread's adds its own id to that."""

LATEST_NS = 1 << 62
"""Times beyond it, 146 years after the start, are damage."""

GRAPH_NAME = "CUDA graph"
COPY_NAMES = dict(zip(COPIES, ("[CUDA memcpy]", "[CUDA memset]"), strict=True))

_COLUMNS = [("start", "i8"), ("end", "i8"), ("device", "i8"), ("process", "i8"), ("name", "i8")]


@dataclass(frozen=True)
class Activity:
    """Things that ran on GPUs: times in nanoseconds, the CUDA device, the process, the name."""

    start: Times
    end: Times
    device: Times
    process: Times
    name: Times
    """An index into `names`."""
    names: tuple[str, ...]

    def __len__(self) -> int:
        """Return how many things ran."""
        return len(self.start)

    def where(self, chosen: NDArray[np.bool_]) -> "Activity":
        """Return the chosen ones."""
        return Activity(
            self.start[chosen],
            self.end[chosen],
            self.device[chosen],
            self.process[chosen],
            self.name[chosen],
            self.names,
        )


@dataclass(frozen=True)
class Range:
    """An NVTX range of one thread; times in nanoseconds."""

    name: str
    start: int
    end: int
    thread: int

    @property
    def process(self) -> int:
        """The process that the thread belongs to, numbered as in `Activity`."""
        return self.thread // PID_UNIT


def read_kernels(export: Export) -> Activity:
    """Return all kernels; where CUDA graphs were not traced node by node, those as wholes."""
    kernels = _read(export, KERNELS, _name_column(export))
    graphs = _read(export, GRAPHS, None, GRAPH_NAME)
    return _join(kernels, graphs)


def read_copies(export: Export) -> Activity:
    """Return the copies and fills that the copy engines did."""
    copy, fill = (_read(export, table, None, COPY_NAMES[table]) for table in COPIES)
    return _join(copy, fill)


def read_ranges(export: Export) -> list[Range]:
    """Return the NVTX ranges that were closed, by their start, the longer one first.

    A name is given inline or, if the program registered it, as an entry of the strings' table.
    """
    if not export.has(RANGES, "start", "end"):
        return []
    inline = "n.text" if export.has(RANGES, "text") else "NULL"
    registered = export.has(RANGES, "textId") and export.has(STRINGS, "id", "value")
    name = f"coalesce({inline}, s.value)" if registered else inline
    join = f"LEFT JOIN {STRINGS} s ON s.id = n.textId" if registered else ""
    thread = "n.globalTid" if export.has(RANGES, "globalTid") else "0"
    found = export.rows(
        f"SELECT {name} AS name, n.start, n.end, {thread} FROM {RANGES} n {join} "  # noqa: S608
        f"WHERE n.end > n.start AND n.start >= 0 AND n.end < {LATEST_NS} AND name IS NOT NULL "
        "ORDER BY n.start, n.end DESC"
    )
    return [Range(name, start, end, thread or 0) for name, start, end, thread in found]


def device_numbers(export: Export) -> dict[tuple[int, int], int]:
    """Return the GPU that a process (its operating system's id) calls device N.

    Processes that see different GPUs (CUDA_VISIBLE_DEVICES) all call theirs 0.
    """
    table = "TARGET_INFO_CUDA_DEVICE"
    if not export.has(table, "gpuId", "cudaId", "pid"):
        return {}
    rows = export.rows(f"SELECT pid, cudaId, gpuId FROM {table}")  # noqa: S608
    return {(pid, cuda): gpu for pid, cuda, gpu in rows if gpu is not None}


def device_names(export: Export) -> dict[int, str]:
    """Return the name of each GPU by its number, where the export tells it."""
    table = "TARGET_INFO_GPU"
    if not export.has(table, "id", "name"):
        return {}
    rows = export.rows(f"SELECT id, name FROM {table}")  # noqa: S608
    return {gpu: name for gpu, name in rows if name}


def _name_column(export: Export) -> str | None:
    """Return the column with the fullest names: what a template is made for tells its class."""
    for column in ("demangledName", "shortName", "mangledName"):
        if export.has(KERNELS, column):
            return column
    return None


def _read(export: Export, table: str, names: str | None, fixed_name: str = "") -> Activity:
    if not export.has(table, "start", "end"):
        return _activity([], ())
    optional = {
        "deviceId": "deviceId" if export.has(table, "deviceId") else "0",
        "globalPid": "globalPid" if export.has(table, "globalPid") else "0",
    }
    rows = export.rows(
        f"SELECT start, end, coalesce({optional['deviceId']}, 0), "  # noqa: S608
        f"coalesce({optional['globalPid']}, 0) / {PID_UNIT}, coalesce({names or 0}, 0) "
        f"FROM {table} WHERE end >= start AND start >= 0 AND end < {LATEST_NS}"
    )
    table_of_names = _strings(export) if names else {0: fixed_name}
    return _activity(rows, table_of_names)


def _strings(export: Export) -> dict[int, str]:
    if not export.has(STRINGS, "id", "value"):
        return {}
    return dict(export.rows(f"SELECT id, CAST(value AS TEXT) FROM {STRINGS}"))  # noqa: S608


def _activity(rows: Iterable[object], names: dict[int, str] | tuple[()]) -> Activity:
    table = np.fromiter(rows, dtype=_COLUMNS)
    used, index = np.unique(table["name"], return_inverse=True)
    known = dict(names)
    return Activity(
        np.ascontiguousarray(table["start"]),
        np.ascontiguousarray(table["end"]),
        np.ascontiguousarray(table["device"]),
        np.ascontiguousarray(table["process"]),
        index.astype(np.int64),
        tuple(known.get(int(key), f"kernel {int(key)}") for key in used),
    )


def _join(one: Activity, other: Activity) -> Activity:
    return Activity(
        np.concatenate((one.start, other.start)),
        np.concatenate((one.end, other.end)),
        np.concatenate((one.device, other.device)),
        np.concatenate((one.process, other.process)),
        np.concatenate((one.name, other.name + len(one.names))),
        one.names + other.names,
    )
