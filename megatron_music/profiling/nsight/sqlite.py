"""Read SQLite exports of Nsight Systems, with the standard library alone.

`nsys export --type sqlite` creates a table when it has its first row, and columns come and go with
the version: here every table and column is asked for before it is read. A table whose name ends
in `_V2` or `_V3` is read under its plain name.
"""

import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from megatron_music.errors import InputError
from megatron_music.profiling.nsight.trace import PID_UNIT, Activity, Capture, Range

KERNELS = "CUPTI_ACTIVITY_KIND_KERNEL"
COPIES = ("CUPTI_ACTIVITY_KIND_MEMCPY", "CUPTI_ACTIVITY_KIND_MEMSET")
GRAPHS = "CUPTI_ACTIVITY_KIND_GRAPH_TRACE"
RANGES = "NVTX_EVENTS"
STRINGS = "StringIds"
_VERSIONED = re.compile(r"(?P<name>[A-Za-z_]\w*)_V(?P<version>[1-9]\d*)", re.ASCII)
MAGIC = b"SQLite format 3\0"

WAIT_S = 2.0
"""How long a database that another program holds is waited for."""

LATEST_NS = 1 << 62
"""Times beyond it, 146 years after the start, are damage."""

GRAPH_NAME = "CUDA graph"
COPY_NAMES = dict(zip(COPIES, ("[CUDA memcpy]", "[CUDA memset]"), strict=True))


class Export:
    """An open export: its connection, and the columns of every table that it has."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        names = {name for (name,) in tables.fetchall()}
        newest: dict[str, int] = {}
        for name in names:
            if found := _VERSIONED.fullmatch(name):
                newest[found["name"]] = max(int(found["version"]), newest.get(found["name"], 0))
        # Temporary views are kept in memory: the file stays as it is.
        for name, version in newest.items():
            table = f'main."{name}_V{version}"'
            connection.execute(f'CREATE TEMP VIEW "{name}" AS SELECT * FROM {table}')  # noqa: S608
        columns = "SELECT name FROM pragma_table_info(?)"
        self.columns: Mapping[str, frozenset[str]] = {
            name: frozenset(column for (column,) in connection.execute(columns, (name,)))
            for name in names | newest.keys()
        }

    def has(self, table: str, *columns: str) -> bool:
        """Tell whether the export has this table with all these columns."""
        return set(columns) <= self.columns.get(table, frozenset()) and table in self.columns

    def rows(self, query: str) -> sqlite3.Cursor:
        """Start a query whose rows are read one by one."""
        return self.connection.execute(query)


@contextmanager
def open_export(path: Path) -> Iterator[Export]:
    """Open an export read-only; anything wrong with it is raised as InputError."""
    # Checked before SQLite does, whose messages do not name the cause.
    try:
        with path.open("rb") as file:
            header = file.read(100)
        size = path.stat().st_size
    except OSError as fault:
        raise InputError(f"cannot read {path}: {fault.strerror}; check the name") from fault
    if not size:
        raise InputError(f"{path} is empty; export again: nsys export --type sqlite FILE.nsys-rep")
    if not header.startswith(MAGIC):
        raise InputError(
            f"{path} is neither an SQLite export nor a CSV of Nsight Systems; "
            "make one: nsys export --type sqlite FILE.nsys-rep"
        )
    page_bytes, pages = int.from_bytes(header[16:18], "big"), int.from_bytes(header[28:32], "big")
    # The header has two bytes for the page size: SQLite writes 1 for its largest.
    expected = (65536 if page_bytes == 1 else page_bytes) * pages
    if len(header) < 100 or size < expected:
        raise InputError(
            f"{path} is cut off: {size:,} bytes of {max(expected, 100):,}; copy or export it again"
        )
    try:
        with closing(_connect(path)) as connection:
            export = Export(connection)
            signs = {KERNELS, GRAPHS, "META_DATA_EXPORT", "META_DATA_CAPTURE", *COPIES}
            if not signs & export.columns.keys():
                raise InputError(
                    f"{path} is an SQLite database, but not one of Nsight Systems; "
                    "make one: nsys export --type sqlite FILE.nsys-rep"
                )
            yield export
    except sqlite3.Error as fault:
        raise InputError(_reason(path, fault)) from fault
    except (ValueError, TypeError, OverflowError) as fault:
        raise InputError(
            f"{path} holds other kinds of values than Nsight Systems writes ({fault}); export it "
            "again: nsys export --type sqlite"
        ) from fault


def _connect(path: Path) -> sqlite3.Connection:
    """Connect read-only; on a file system without locks, read the file as immutable."""
    address = path.absolute().as_uri()
    connection = sqlite3.connect(f"{address}?mode=ro", uri=True, timeout=WAIT_S)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as fault:
        connection.close()
        if fault.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR}:
            raise
        return sqlite3.connect(f"{address}?mode=ro&immutable=1", uri=True)
    return connection


def _reason(path: Path, fault: sqlite3.Error) -> str:
    code = getattr(fault, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return f"{path} is locked by another program; wait until its export has ended"
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return f"{path} is damaged ({fault}); copy or export it again"
    return f"cannot read {os.fspath(path)} ({fault}); export it again: nsys export --type sqlite"


def read_export(path: Path) -> Capture:
    """Read an export, its devices numbered by GPU; raises InputError."""
    with open_export(path) as export:
        # The fullest name there is: template arguments decide a kernel's class.
        names = ("demangledName", "shortName", "mangledName")
        column = next((name for name in names if export.has(KERNELS, name)), None)
        # Where CUDA graphs were not traced node by node, they count as wholes.
        kernels = _read(export, KERNELS, column).and_also(_read(export, GRAPHS, None, GRAPH_NAME))
        copy, fill = (_read(export, table, None, COPY_NAMES[table]) for table in COPIES)
        copies = copy.and_also(fill)
        for activity in (kernels, copies):
            _number_by_gpu(activity, export)
        has_names = export.has("TARGET_INFO_GPU", "id", "name")
        gpus = export.rows("SELECT id, name FROM TARGET_INFO_GPU") if has_names else ()
        device_names = {gpu: name for gpu, name in gpus if name}
        return Capture(kernels, copies, read_ranges(export), device_names)


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


def _number_by_gpu(activity: Activity, export: Export) -> None:
    """Give the devices of an activity the numbers of the GPUs.

    Processes that see different GPUs (CUDA_VISIBLE_DEVICES) all call theirs 0.
    """
    table = "TARGET_INFO_CUDA_DEVICE"
    if not export.has(table, "gpuId", "cudaId", "pid"):
        return
    # Global ids hold the host above the process's own id.
    processes, devices = activity.rows["process"] % PID_UNIT, activity.rows["device"].copy()
    for pid, cuda, gpu in export.rows(f"SELECT pid, cudaId, gpuId FROM {table}"):  # noqa: S608
        if gpu is not None:
            activity.rows["device"][(processes == pid) & (devices == cuda)] = gpu


def _read(export: Export, table: str, names: str | None, fixed_name: str = "") -> Activity:
    if not export.has(table, "start", "end"):
        return Activity.of((), {})
    device, process = (
        name if export.has(table, name) else "0" for name in ("deviceId", "globalPid")
    )
    rows = export.rows(
        f"SELECT start, end, coalesce({device}, 0), "  # noqa: S608
        f"coalesce({process}, 0) / {PID_UNIT}, coalesce({names or 0}, 0) "
        # A capture that was cut short has events that never ended.
        f"FROM {table} WHERE end >= start AND start >= 0 AND end < {LATEST_NS}"
    )
    table_of_names = {0: fixed_name}
    if names:
        table_of_names = {}
        if export.has(STRINGS, "id", "value"):
            strings = f"SELECT id, CAST(value AS TEXT) FROM {STRINGS}"  # noqa: S608
            table_of_names = dict(export.rows(strings))
    return Activity.of(rows, table_of_names)
