"""Build small databases with the tables and columns that Nsight Systems exports."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

MS = 1_000_000
HOST = 1 << 48
"""What a global id holds above the process: the machine it ran on."""

GEMM = "sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64_cublas"
NCCL = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<(unsigned long)4096>)"
FLASH = "void flash::flash_fwd_kernel<Traits<(int)128, cutlass::bfloat16_t>>(Flash_fwd_params)"
ADAM = "void multi_tensor_apply_kernel<TensorListMetadata<4>, AdamFunctor<float>, float>(long)"

KERNEL_COLUMNS = (
    "start INTEGER NOT NULL, end INTEGER NOT NULL, deviceId INTEGER NOT NULL, "
    "streamId INTEGER NOT NULL, correlationId INTEGER, globalPid INTEGER, "
    "demangledName INTEGER NOT NULL, shortName INTEGER NOT NULL"
)
COPY_COLUMNS = (
    "start INTEGER NOT NULL, end INTEGER NOT NULL, deviceId INTEGER NOT NULL, "
    "globalPid INTEGER, bytes INTEGER NOT NULL"
)
RANGE_COLUMNS = (
    "start INTEGER NOT NULL, end INTEGER, eventType INTEGER NOT NULL, text TEXT, "
    "globalTid INTEGER, textId INTEGER"
)


def process_id(pid: int) -> int:
    """The global id of a process."""
    return HOST + (pid << 24)


@dataclass
class Capture:
    """What is going to be exported; times are in milliseconds."""

    strings: dict[str, int] = field(default_factory=dict)
    rows: dict[str, list[tuple[object, ...]]] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, *kernels: tuple[str, int, int] | tuple[str, int, int, int]) -> "Capture":
        """Make a capture of kernels: a name, a start, an end, and a stream where it matters."""
        capture = cls()
        for name, start, end, *stream in kernels:
            capture.kernel(name, start, end, stream=stream[0] if stream else 7)
        return capture

    def text(self, value: str) -> int:
        """Put a string into the strings' table and return its number."""
        return self.strings.setdefault(value, 100 + len(self.strings))

    def kernel(
        self, name: str, start: int, end: int, device: int = 0, pid: int = 7, stream: int = 7
    ) -> None:
        """Run a kernel."""
        number = self.text(name)
        times = (start * MS, end * MS)
        row = (*times, device, stream, len(self.rows), process_id(pid), number, number)
        self._add("CUPTI_ACTIVITY_KIND_KERNEL", KERNEL_COLUMNS, row)

    def copy(self, start: int, end: int, device: int = 0, pid: int = 7) -> None:
        """Let a copy engine copy."""
        row = (start * MS, end * MS, device, process_id(pid), 4096)
        self._add("CUPTI_ACTIVITY_KIND_MEMCPY", COPY_COLUMNS, row)

    def graph(self, start: int, end: int, device: int = 0) -> None:
        """Run a CUDA graph that was traced as a whole."""
        row = (start * MS, end * MS, device, process_id(7), 1)
        self._add("CUPTI_ACTIVITY_KIND_GRAPH_TRACE", COPY_COLUMNS, row)

    def range(
        self,
        name: str,
        start: int,
        end: int | None,
        pid: int = 7,
        thread: int = 7,
        registered: bool = False,
    ) -> None:
        """Write an NVTX range, with its name inline or as a registered string."""
        inline, number = (None, self.text(name)) if registered else (name, None)
        until = None if end is None else end * MS
        row = (start * MS, until, 59, inline, process_id(pid) + thread, number)
        self._add("NVTX_EVENTS", RANGE_COLUMNS, row)

    def gpu(self, number: int, name: str, pid: int, cuda: int) -> None:
        """Say which GPU a process calls `cuda`."""
        self._add("TARGET_INFO_GPU", "id INTEGER NOT NULL, name TEXT", (number, name))
        columns = "gpuId INTEGER, cudaId INTEGER NOT NULL, pid INTEGER NOT NULL, uuid TEXT"
        self._add("TARGET_INFO_CUDA_DEVICE", columns, (number, cuda, pid, None))

    def write(self, path: Path, version: str = "") -> Path:
        """Export: as nsys does, with those tables alone that have a row.

        `version` ends their names: newer exports have `..._KERNEL_V2`.
        """
        self._add("META_DATA_EXPORT", "name TEXT NOT NULL, value TEXT", ("EXPORT_PARAM_LAZY", "1"))
        for value, number in self.strings.items():
            self._add("StringIds", "id INTEGER PRIMARY KEY, value TEXT NOT NULL", (number, value))
        with closing(sqlite3.connect(path)) as database:
            for table, rows in self.rows.items():
                database.execute(f"CREATE TABLE {table}{version} ({self.columns[table]})")
                places = ", ".join("?" * len(rows[0]))
                insert = f"INSERT INTO {table}{version} VALUES ({places})"  # noqa: S608
                database.executemany(insert, rows)
            database.commit()
        return path

    def _add(self, table: str, columns: str, row: tuple[object, ...]) -> None:
        self.columns[table] = columns
        self.rows.setdefault(table, []).append(row)
