"""Reading what Nsight Systems exports as SQLite, only ever with the standard library.

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

KERNELS = "CUPTI_ACTIVITY_KIND_KERNEL"
COPIES = ("CUPTI_ACTIVITY_KIND_MEMCPY", "CUPTI_ACTIVITY_KIND_MEMSET")
GRAPHS = "CUPTI_ACTIVITY_KIND_GRAPH_TRACE"
RANGES = "NVTX_EVENTS"
STRINGS = "StringIds"

_VERSIONED = re.compile(r"(?P<name>[A-Za-z_]\w*)_V(?P<version>[1-9]\d*)", re.ASCII)

MAGIC = b"SQLite format 3\0"
WAIT_S = 2.0
"""How long a database that another program holds is waited for."""


class Export:
    """An open export: its connection, and the columns of every table that it has."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        names = {name for (name,) in tables.fetchall()}
        columns = "SELECT name FROM pragma_table_info(?)"
        self.columns: Mapping[str, frozenset[str]] = {
            name: frozenset(column for (column,) in connection.execute(columns, (name,)))
            for name in names | _name_without_versions(connection, names)
        }

    def has(self, table: str, *columns: str) -> bool:
        """Tell whether the export has this table with all these columns."""
        return set(columns) <= self.columns.get(table, frozenset()) and table in self.columns

    def rows(self, query: str) -> sqlite3.Cursor:
        """Start a query whose rows are read one by one."""
        return self.connection.execute(query)


def _name_without_versions(connection: sqlite3.Connection, tables: set[str]) -> set[str]:
    """Make a view of the newest version of each versioned table; return the views' names.

    Views are temporary: they are kept in memory, the file stays as it is.
    """
    newest: dict[str, int] = {}
    for table in tables:
        if found := _VERSIONED.fullmatch(table):
            newest[found["name"]] = max(int(found["version"]), newest.get(found["name"], 0))
    for name, version in newest.items():
        versioned = f'main."{name}_V{version}"'
        connection.execute(f'CREATE TEMP VIEW "{name}" AS SELECT * FROM {versioned}')  # noqa: S608
    return set(newest)


@contextmanager
def open_export(path: Path) -> Iterator[Export]:
    """Open an export for reading alone; whatever is wrong with it leaves as an InputError."""
    _check_file(path)
    try:
        with closing(_connect(path)) as connection:
            export = Export(connection)
            _check_origin(path, export)
            yield export
    except sqlite3.Error as fault:
        raise InputError(_reason(path, fault)) from fault
    except (ValueError, TypeError, OverflowError) as fault:
        raise InputError(
            f"{path} holds other kinds of values than Nsight Systems writes ({fault}); export it "
            "again: nsys export --type sqlite"
        ) from fault


def _connect(path: Path) -> sqlite3.Connection:
    """Connect without ever writing; on a file system without locks, read what lies there."""
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


def _check_file(path: Path) -> None:
    """Find out what is wrong before SQLite does, which would say it less clearly."""
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
    expected = _size(header)
    if expected is None or size < expected:
        raise InputError(
            f"{path} is cut off: {size:,} bytes of {expected or 'at least 100':,}; "
            "copy or export it again"
        )


def _size(header: bytes) -> int | None:
    """Return the bytes that the header promises, None if the header itself is cut off."""
    if len(header) < 100:
        return None
    page_size = int.from_bytes(header[16:18], "big")
    pages = int.from_bytes(header[28:32], "big")
    return (65536 if page_size == 1 else page_size) * pages


def _check_origin(path: Path, export: Export) -> None:
    signs = {KERNELS, GRAPHS, "META_DATA_EXPORT", "META_DATA_CAPTURE", *COPIES}
    if not signs & export.columns.keys():
        raise InputError(
            f"{path} is an SQLite database, but not one of Nsight Systems; "
            "make one: nsys export --type sqlite FILE.nsys-rep"
        )


def _reason(path: Path, fault: sqlite3.Error) -> str:
    code = getattr(fault, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return f"{path} is locked by another program; wait until its export has ended"
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return f"{path} is damaged ({fault}); copy or export it again"
    return f"cannot read {os.fspath(path)} ({fault}); export it again: nsys export --type sqlite"
