"""Where the time of a capture went, on captures whose answer is known by hand."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_music.errors import InputError
from megatron_music.profiling.nsight.analyze import DeviceProfile
from megatron_music.profiling.nsight.read import read_profile
from megatron_music.profiling.nsight.sqlite import KERNELS as KERNEL_TABLE
from tests.profiling.capture import ADAM, FLASH, GEMM, NCCL, Capture

KERNELS = (GEMM, FLASH, NCCL, ADAM)
RUNS = st.lists(
    st.tuples(st.sampled_from(KERNELS), st.integers(0, 40), st.integers(1, 15)),
    min_size=1,
    max_size=15,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a capture goes."""
    return tmp_path / "run.sqlite"


def only_device(capture: Capture, file: Path) -> DeviceProfile:
    (device,) = read_profile(capture.write(file)).devices
    return device


def test_copies_are_memory_time_but_neither_busy_nor_hiding(file: Path) -> None:
    capture = Capture.of((NCCL, 0, 10), (GEMM, 20, 30))
    capture.copy(0, 18)
    device = only_device(capture, file)
    assert device.classes_ms["memory"] == 18
    assert (device.busy_ms, device.idle_ms) == (20, 10)
    assert device.communication_hidden_share == 0


@pytest.mark.parametrize(
    "rows",  # of a GPU, its process, and what that calls it
    [((0, 70, 0), (1, 71, 0)), ((3, 70, 0), (2, 70, 1))],
    ids=["each process sees one", "one process sees two"],
)
def test_gpus_are_separated(file: Path, rows: Any) -> None:
    capture = Capture()
    for gpu, pid, cuda in rows:
        capture.gpu(gpu, f"NVIDIA Example {gpu}", pid, cuda)
        capture.kernel(GEMM, 0, 10 + gpu, device=cuda, pid=pid)
    devices = read_profile(capture.write(file)).devices
    assert [(each.device, each.name, each.span_ms) for each in devices] == [
        (gpu, f"NVIDIA Example {gpu}", 10 + gpu) for gpu, *_ in sorted(rows)
    ]


def test_the_top_kernels_are_those_with_the_longest_summed_time(file: Path) -> None:
    products = [(GEMM, start, start + 3) for start in (10, 20, 30)]
    capture = Capture.of((ADAM, 0, 6), *products, (FLASH, 40, 41))
    top = read_profile(capture.write(file), top=2).devices[0].top_kernels
    assert top == [
        {"name": GEMM, "class": "gemm", "total_ms": 9, "count": 3},
        {"name": ADAM, "class": "optimizer", "total_ms": 6, "count": 1},
    ]


@given(RUNS)
def test_the_figures_are_those_of_a_timeline_ticked_off_by_hand(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[str, int, int]]
) -> None:
    capture = Capture.of(*((name, start, start + length) for name, start, length in runs))
    device = only_device(capture, tmp_path_factory.mktemp("capture") / "run.sqlite")

    def ticks(*names: str) -> set[int]:
        chosen = [(start, length) for name, start, length in runs if name in names]
        return {tick for start, length in chosen for tick in range(start, start + length)}

    busy, talk = ticks(*KERNELS), ticks(NCCL)
    assert device.busy_ms == len(busy)
    assert device.span_ms == max(busy) + 1 - min(busy)
    assert device.communication_ms == len(talk)
    assert device.idle_ms == device.span_ms - len(busy)
    assert device.busy_share == pytest.approx(1 - (device.idle_share or 0))
    assert device.communication_hidden_ms == len(talk & ticks(GEMM, FLASH, ADAM))
    assert device.communication_exposed_ms == len(talk - ticks(GEMM, FLASH, ADAM))
    assert (device.communication_hidden_share is None) == (not talk)
    assert device.classes_ms["gemm"] == len(ticks(GEMM))
    assert sum(device.classes_ms.values()) == sum(len(ticks(name)) for name in KERNELS)


def test_tables_and_columns_that_an_export_lacks_are_done_without(file: Path) -> None:
    database = sqlite3.connect(file)
    database.execute("CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER, end INTEGER)")
    database.execute("INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (0, 5000000)")
    database.commit()
    database.close()
    (device,) = read_profile(file).devices
    assert (device.device, device.name, device.busy_ms) == (0, None, 5)
    assert device.classes_ms["other"] == 5
    assert device.steps is None


@pytest.mark.parametrize("version", ["", "_V2", "_V3"])
def test_tables_of_a_later_version_are_read_as_the_plain_ones(file: Path, version: str) -> None:
    capture = Capture.of((GEMM, 0, 10))
    capture.copy(10, 12)
    capture.range("iteration 1", 0, 20, registered=True)
    capture.gpu(0, "NVIDIA H100 80GB HBM3", pid=7, cuda=0)
    (device,) = read_profile(capture.write(file, version)).devices
    assert (device.name, device.kernel_count) == ("NVIDIA H100 80GB HBM3", 1)
    assert device.classes_ms["gemm"] == 10
    assert device.steps is not None
    assert [step["name"] for step in device.steps["steps"]] == ["iteration 1"]


def test_of_several_versions_of_a_table_the_newest_is_read(file: Path) -> None:
    for version, kernels in (("", 1), ("_V2", 2), ("_V10", 3)):
        capture = Capture.of(*((GEMM, 10 * number, 10 * number + 5) for number in range(kernels)))
        one = capture.write(file.with_name(f"one{version}.sqlite"), version)
        with closing(sqlite3.connect(file)) as database, database:
            database.execute("ATTACH ? AS one", (str(one),))
            (table,) = database.execute(
                "SELECT name FROM one.sqlite_master WHERE name LIKE '%KERNEL%'"
            ).fetchone()
            database.execute(f"CREATE TABLE main.{table} AS SELECT * FROM one.{table}")  # noqa: S608
    assert read_profile(file).devices[0].kernel_count == 3


def test_kernels_that_never_ended_are_left_out(file: Path) -> None:
    device = only_device(Capture.of((GEMM, 10, 20), (GEMM, 15, 0)), file)
    assert (device.span_ms, device.kernel_count, device.top_kernels[0]["total_ms"]) == (10, 1, 10)


def test_cuda_graphs_captured_as_wholes_are_busy_time_and_remarked_on(file: Path) -> None:
    capture = Capture.of((GEMM, 0, 2))
    capture.graph(2, 10)
    profile = read_profile(capture.write(file))
    assert profile.devices[0].busy_share == 1
    assert profile.devices[0].classes_ms["other"] == 8
    assert any("--cuda-graph-trace=node" in note for note in profile.notes)


def test_much_time_in_unknown_kernels_is_remarked_on(file: Path) -> None:
    notes = read_profile(Capture.of(("mine", 0, 5), (GEMM, 5, 10)).write(file)).notes
    assert any("device 0: 5.0 ms in kernels of no known class" in note for note in notes)


def refused(file: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_profile(file)
    assert "\n" not in str(caught.value)
    assert file.name in str(caught.value)
    return str(caught.value)


def long_capture(file: Path) -> bytearray:
    kernels = ((f"{GEMM}_{number}", number, number + 1) for number in range(500))
    return bytearray(Capture.of(*kernels).write(file).read_bytes())


def another_program(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE songs (title TEXT)")


def only_ranges(file: Path) -> None:
    capture = Capture()
    capture.range("iteration 1", 0, 1)
    capture.write(file)


def truncated(kept: float) -> Callable[[Path], object]:
    def write(file: Path) -> None:
        content = long_capture(file)
        file.write_bytes(content[: int(len(content) * kept)])

    return write


def damaged(file: Path) -> None:
    content = long_capture(file)
    content[4096:] = b"\x5a" * (len(content) - 4096)
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda _: None, "No such file"),
        (Path.mkdir, "is not a file"),
        (os.mkfifo, "is not a file"),  # and it is not waited for
        (Path.touch, "is empty"),
        (lambda file: file.write_text("once upon a time"), "neither an SQLite export nor a CSV"),
        (another_program, "not one of Nsight Systems"),
        (only_ranges, "no GPU kernels"),
        *((truncated(kept), "cut off") for kept in (0.02, 0.5, 0.99)),
        (damaged, "damaged"),
    ],
)
def test_what_is_no_capture_is_one_line(file: Path, make: Any, told: str) -> None:
    make(file)
    assert told in refused(file)


def test_a_report_is_answered_with_the_command_that_exports_it(tmp_path: Path) -> None:
    file = tmp_path / "run.nsys-rep"
    file.write_bytes(b"anything")
    assert f"nsys export --type sqlite -o {tmp_path / 'run.sqlite'} {file}" in refused(file)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ("1, 2, 'first', 0, 1, 1", "holds other kinds of values"),
        ("1, 2, 9e999, 0, 1, 1", "holds other kinds of values"),
        ("'a', 'b', 0, 0, 1, 1", "holds no GPU kernels"),
        ("-9223372036854775807, 9223372036854775807, 0, 0, 1, 1", "holds no GPU kernels"),
    ],
)
def test_values_of_other_kinds_are_one_line(file: Path, values: str, told: str) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(
            f"CREATE TABLE {KERNEL_TABLE} (start, end, deviceId, streamId, globalPid, shortName)"
        )
        database.execute(f"INSERT INTO {KERNEL_TABLE} VALUES ({values})")  # noqa: S608
    with pytest.raises(InputError, match=told):
        read_profile(file)


def test_a_table_that_is_a_query_without_end_is_not_run(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("CREATE TABLE META_DATA_EXPORT (name, value)")
        database.execute(
            f"CREATE VIEW {KERNEL_TABLE} AS WITH RECURSIVE n(start) AS "  # noqa: S608
            "(SELECT 1 UNION ALL SELECT start + 1 FROM n) SELECT start, start + 1 AS end FROM n"
        )
    with pytest.raises(InputError, match="holds no GPU kernels"):
        read_profile(file)


def test_an_export_that_is_still_being_written_is_one_line(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("megatron_music.profiling.nsight.sqlite.WAIT_S", 0.05)
    writer = sqlite3.connect(Capture.of((GEMM, 0, 10)).write(file), isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    assert "locked by another program" in refused(file)
    writer.execute("ROLLBACK")
    writer.close()
    assert read_profile(file).devices[0].span_ms == 10


def test_reading_changes_nothing(file: Path) -> None:
    before = Capture.of((GEMM, 0, 10)).write(file).read_bytes()
    file.chmod(0o444)
    file.parent.chmod(0o555)
    try:
        read_profile(file)
    finally:
        file.parent.chmod(0o755)
    assert file.read_bytes() == before
    assert [each.name for each in file.parent.iterdir()] == [file.name]
