"""Where the time of a capture went, on captures whose answer is known by hand."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_music.errors import InputError
from megatron_music.profiling.nsight.analyze import DeviceProfile, as_json
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


def test_kernels_side_by_side_are_counted_once_and_gaps_are_idle(file: Path) -> None:
    capture = Capture()
    capture.kernel(GEMM, 0, 10)
    capture.kernel(FLASH, 5, 15, stream=8)
    capture.kernel(GEMM, 20, 25)
    device = only_device(capture, file)
    assert (device.span_ms, device.busy_ms, device.idle_ms) == (25, 20, 5)
    assert (device.busy_share, device.idle_share) == (0.8, 0.2)


def test_a_class_takes_the_union_of_its_own_kernels(file: Path) -> None:
    capture = Capture()
    capture.kernel(GEMM, 0, 10)
    capture.kernel(GEMM, 5, 15, stream=8)
    capture.kernel(FLASH, 0, 4, stream=9)
    classes = only_device(capture, file).classes_ms
    assert classes["gemm"] == 15
    assert classes["attention"] == 4
    assert sum(classes.values()) == 19


def test_communication_is_hidden_where_another_kernel_runs(file: Path) -> None:
    capture = Capture()
    capture.kernel(GEMM, 0, 10)
    capture.kernel(NCCL, 4, 14, stream=20)  # 6 of 10 ms after the product
    capture.kernel(NCCL, 30, 40, stream=20)  # alone
    device = only_device(capture, file)
    assert device.communication_ms == 20
    assert device.communication_hidden_ms == 6
    assert device.communication_exposed_ms == 14
    assert device.communication_hidden_share == 0.3


def test_two_collectives_side_by_side_do_not_hide_each_other(file: Path) -> None:
    capture = Capture()
    capture.kernel(NCCL, 0, 10, stream=20)
    capture.kernel(NCCL, 0, 10, stream=21)
    device = only_device(capture, file)
    assert (device.communication_ms, device.communication_hidden_share) == (10, 0)


def test_without_communication_there_is_no_share_of_it(file: Path) -> None:
    capture = Capture()
    capture.kernel(GEMM, 0, 1)
    assert only_device(capture, file).communication_hidden_share is None


def test_copies_are_memory_time_but_neither_busy_nor_hiding(file: Path) -> None:
    capture = Capture()
    capture.kernel(NCCL, 0, 10)
    capture.kernel(GEMM, 20, 30)
    capture.copy(0, 18)
    device = only_device(capture, file)
    assert device.classes_ms["memory"] == 18
    assert (device.busy_ms, device.idle_ms) == (20, 10)
    assert device.communication_hidden_share == 0


def test_devices_are_separated(file: Path) -> None:
    capture = Capture()
    capture.kernel(GEMM, 0, 10, device=0, pid=7)
    capture.kernel(NCCL, 0, 2, device=1, pid=8)
    capture.kernel(GEMM, 2, 10, device=1, pid=8)
    one, two = read_profile(capture.write(file)).devices
    assert (one.device, two.device) == (0, 1)
    assert (one.communication_ms, two.communication_ms) == (0, 2)


def test_processes_that_each_see_one_gpu_are_separated(file: Path) -> None:
    capture = Capture()
    for gpu, pid in ((0, 70), (1, 71)):
        capture.gpu(gpu, f"NVIDIA Example {gpu}", pid, cuda=0)
        capture.kernel(GEMM, 0, 10 + gpu, device=0, pid=pid)
    devices = read_profile(capture.write(file)).devices
    assert [(each.device, each.name, each.span_ms) for each in devices] == [
        (0, "NVIDIA Example 0", 10),
        (1, "NVIDIA Example 1", 11),
    ]


def test_two_gpus_of_one_process_are_separated(file: Path) -> None:
    capture = Capture()
    for cuda, gpu in ((0, 3), (1, 2)):
        capture.gpu(gpu, f"NVIDIA Example {gpu}", 70, cuda)
        capture.kernel(GEMM, 0, 10 + gpu, device=cuda, pid=70)
    devices = read_profile(capture.write(file)).devices
    assert [(each.device, each.span_ms) for each in devices] == [(2, 12), (3, 13)]


def test_the_top_kernels_are_those_with_the_longest_summed_time(file: Path) -> None:
    capture = Capture()
    capture.kernel(ADAM, 0, 6)
    for start in (10, 20, 30):
        capture.kernel(GEMM, start, start + 3)
    capture.kernel(FLASH, 40, 41)
    top = read_profile(capture.write(file), top=2).devices[0].top_kernels
    assert [(each.name, each.kind, each.total_ms, each.count) for each in top] == [
        (GEMM, "gemm", 9, 3),
        (ADAM, "optimizer", 6, 1),
    ]


@given(RUNS)
def test_the_figures_are_those_of_a_timeline_ticked_off_by_hand(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[str, int, int]]
) -> None:
    capture = Capture()
    for name, start, length in runs:
        capture.kernel(name, start, start + length)
    device = only_device(capture, tmp_path_factory.mktemp("capture") / "run.sqlite")

    def ticks(*names: str) -> set[int]:
        chosen = [(start, length) for name, start, length in runs if name in names]
        return {tick for start, length in chosen for tick in range(start, start + length)}

    busy, talk = ticks(*KERNELS), ticks(NCCL)
    assert device.busy_ms == len(busy)
    assert device.span_ms == max(busy) + 1 - min(busy)
    assert device.communication_ms == len(talk)
    assert device.communication_hidden_ms == len(talk & ticks(GEMM, FLASH, ADAM))
    assert device.classes_ms["gemm"] == len(ticks(GEMM))


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
    capture = Capture()
    capture.kernel(GEMM, 0, 10)
    capture.copy(10, 12)
    capture.range("iteration 1", 0, 20, registered=True)
    capture.gpu(0, "NVIDIA H100 80GB HBM3", pid=7, cuda=0)
    (device,) = read_profile(capture.write(file, version)).devices
    assert (device.name, device.kernel_count) == ("NVIDIA H100 80GB HBM3", 1)
    assert device.classes_ms["gemm"] == 10
    assert device.steps is not None
    assert [step.name for step in device.steps.steps] == ["iteration 1"]


def test_of_several_versions_of_a_table_the_newest_is_read(file: Path) -> None:
    for version, kernels in (("", 1), ("_V2", 2), ("_V10", 3)):
        capture = Capture()
        for number in range(kernels):
            capture.kernel(GEMM, 10 * number, 10 * number + 5)
        one = capture.write(file.with_name(f"one{version}.sqlite"), version)
        with closing(sqlite3.connect(file)) as database, database:
            database.execute("ATTACH ? AS one", (str(one),))
            (table,) = database.execute(
                "SELECT name FROM one.sqlite_master WHERE name LIKE '%KERNEL%'"
            ).fetchone()
            database.execute(f"CREATE TABLE main.{table} AS SELECT * FROM one.{table}")  # noqa: S608
    assert read_profile(file).devices[0].kernel_count == 3


def test_kernels_that_never_ended_are_left_out(file: Path) -> None:
    capture = Capture()
    capture.kernel(GEMM, 10, 20)
    capture.kernel(GEMM, 15, 0)
    device = only_device(capture, file)
    assert (device.span_ms, device.kernel_count, device.top_kernels[0].total_ms) == (10, 1, 10)


def test_cuda_graphs_captured_as_wholes_are_busy_time_and_remarked_on(file: Path) -> None:
    capture = Capture()
    capture.kernel(GEMM, 0, 2)
    capture.graph(2, 10)
    profile = read_profile(capture.write(file))
    assert profile.devices[0].busy_share == 1
    assert profile.devices[0].classes_ms["other"] == 8
    assert any("--cuda-graph-trace=node" in note for note in profile.notes)


def test_much_time_in_unknown_kernels_is_remarked_on(file: Path) -> None:
    capture = Capture()
    capture.kernel("my_own_kernel", 0, 5)
    capture.kernel(GEMM, 5, 10)
    notes = read_profile(capture.write(file)).notes
    assert any("device 0: 5.0 ms in kernels of no known class" in note for note in notes)


def test_json_carries_the_contract_s_names(file: Path) -> None:
    capture = Capture()
    capture.kernel(GEMM, 0, 10)
    capture.kernel(NCCL, 5, 15)
    (device,) = as_json(read_profile(capture.write(file)))["devices"]
    assert device["device"] == 0
    assert device["span_ms"] == 15
    assert device["busy_share"] == 1
    assert device["communication_hidden_share"] == 0.5
    assert list(device["classes_ms"])[:3] == ["gemm", "attention", "communication"]
    assert device["top_kernels"][0] == {"name": GEMM, "class": "gemm", "total_ms": 10, "count": 1}


def refused(file: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_profile(file)
    assert "\n" not in str(caught.value)
    assert file.name in str(caught.value)
    return str(caught.value)


def test_a_report_is_answered_with_the_command_that_exports_it(tmp_path: Path) -> None:
    file = tmp_path / "run.nsys-rep"
    file.write_bytes(b"anything")
    assert f"nsys export --type sqlite -o {tmp_path / 'run.sqlite'} {file}" in refused(file)


def test_a_missing_file_is_one_line(file: Path) -> None:
    assert "No such file" in refused(file)


def test_a_folder_is_one_line(tmp_path: Path) -> None:
    assert "is not a file" in refused(tmp_path)


def test_an_empty_file_is_one_line(file: Path) -> None:
    file.touch()
    assert "is empty" in refused(file)


def test_a_file_of_another_kind_is_one_line(file: Path) -> None:
    file.write_text("once upon a time")
    assert "neither an SQLite export nor a CSV" in refused(file)


def test_a_database_of_another_program_is_one_line(file: Path) -> None:
    database = sqlite3.connect(file)
    database.execute("CREATE TABLE songs (title TEXT)")
    database.close()
    assert "not one of Nsight Systems" in refused(file)


def test_an_export_without_kernels_is_one_line(file: Path) -> None:
    capture = Capture()
    capture.range("iteration 1", 0, 1)
    assert "no GPU kernels" in refused(capture.write(file))


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


def test_a_pipe_is_not_waited_for(file: Path) -> None:
    os.mkfifo(file)
    with pytest.raises(InputError, match="is not a file"):
        read_profile(file)


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_a_truncated_export_is_one_line(file: Path, kept: float) -> None:
    capture = Capture()
    for number in range(500):
        capture.kernel(f"{GEMM}_{number}", number, number + 1)
    content = capture.write(file).read_bytes()
    file.write_bytes(content[: int(len(content) * kept)])
    assert "cut off" in refused(file)


def test_a_damaged_export_is_one_line(file: Path) -> None:
    capture = Capture()
    for number in range(500):
        capture.kernel(f"{GEMM}_{number}", number, number + 1)
    content = bytearray(capture.write(file).read_bytes())
    content[4096 : len(content)] = b"\x5a" * (len(content) - 4096)
    file.write_bytes(content)
    assert "damaged" in refused(file)


def test_an_export_that_is_still_being_written_is_one_line(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("megatron_music.profiling.nsight.sqlite.WAIT_S", 0.05)
    capture = Capture()
    capture.kernel(GEMM, 0, 10)
    writer = sqlite3.connect(capture.write(file), isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    assert "locked by another program" in refused(file)
    writer.execute("ROLLBACK")
    writer.close()
    assert read_profile(file).devices[0].span_ms == 10


def test_reading_changes_nothing(file: Path) -> None:
    capture = Capture()
    capture.kernel(GEMM, 0, 10)
    before = capture.write(file).read_bytes()
    file.chmod(0o444)
    file.parent.chmod(0o555)
    try:
        read_profile(file)
    finally:
        file.parent.chmod(0o755)
    assert file.read_bytes() == before
    assert [each.name for each in file.parent.iterdir()] == [file.name]
