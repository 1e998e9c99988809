"""The CSV of `nsys stats`, progress lines and commas in names included."""

from pathlib import Path

import pytest

from megatron_music.errors import InputError
from megatron_music.profiling.nsight.read import read_profile

HEADER = "Time (%),Total Time (ns),Instances,Avg (ns),Med (ns),Min (ns),Max (ns),StdDev (ns),Name"
PROGRESS = """Generating SQLite file run.sqlite from run.nsys-rep
Processing [run.sqlite] with [/opt/nvidia/nsight-systems/reports/cuda_gpu_kern_sum.py]...
"""
ROWS = """60.0,6000000,3,2e6,2e6,1,1,0.0,"void flash::flash_fwd_kernel<a, b>(""x"", int)"
30.0,3000000,6,500000.0,500000.0,1,1,0.0,nvjet_tst_192x192_64x4_2x1_v_bz_coopB_bias_TNN
10.0,1000000,1,1e6,1e6,1,1,0.0,"ncclDevKernel_SendRecv(ncclDevKernelArgsStorage<1, 2>)"
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "kernels.csv"
    file.write_text(text)
    return file


def test_classes_and_top_kernels_are_read(tmp_path: Path) -> None:
    file = written(tmp_path, f"{PROGRESS}\n{HEADER}\n{ROWS}")
    (device,) = read_profile(file, top=2).devices
    assert device.classes_ms["attention"] == 6
    assert device.classes_ms["gemm"] == 3
    assert device.communication_ms == 1
    assert device.kernel_count == 10
    assert [(top.name, top.total_ms, top.count) for top in device.top_kernels] == [
        ('void flash::flash_fwd_kernel<a, b>("x", int)', 6, 3),
        ("nvjet_tst_192x192_64x4_2x1_v_bz_coopB_bias_TNN", 3, 6),
    ]


def test_what_a_sum_cannot_tell_is_none_and_that_is_said(tmp_path: Path) -> None:
    profile = read_profile(written(tmp_path, f"{HEADER}\n{ROWS}"))
    (device,) = profile.devices
    assert (device.device, device.span_ms, device.busy_share, device.idle_ms) == (None,) * 4
    assert device.communication_hidden_share is None
    assert device.communication_exposed_ms is None
    assert "no overlap" in profile.notes[0]


def test_another_unit_of_time_is_understood(tmp_path: Path) -> None:
    file = written(tmp_path, f"{HEADER.replace('(ns)', '(us)')}\n{ROWS}")
    assert read_profile(file).devices[0].classes_ms["gemm"] == 3000


def test_a_second_report_in_the_same_file_is_not_read_as_kernels(tmp_path: Path) -> None:
    second = "\nProcessing [run.sqlite] with [cuda_api_sum.py]...\nTime (%),Name\n1.0,x\n"
    file = written(tmp_path, f"{HEADER}\n{ROWS}{second}")
    assert read_profile(file).devices[0].kernel_count == 10


def test_another_report_s_table_is_one_line(tmp_path: Path) -> None:
    file = written(tmp_path, "Time (%),Total Time (ns),Range\n1.0,2,forward\n")
    with pytest.raises(InputError, match="has no column 'Name' but"):
        read_profile(file)


def test_a_table_without_rows_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lists no kernels"):
        read_profile(written(tmp_path, f"{HEADER}\n"))


@pytest.mark.parametrize("time", ["soon", "nan", "inf", "-1"])
def test_a_time_that_is_no_number_is_one_line(tmp_path: Path, time: str) -> None:
    damaged = ROWS.replace("3000000,6", f"{time},6")
    with pytest.raises(InputError, match=f"has the time '{time}'"):
        read_profile(written(tmp_path, f"{HEADER}\n{damaged}"))


def test_a_name_without_end_is_one_line(tmp_path: Path) -> None:
    damaged = ROWS.replace("flash_fwd", "flash" * 100_000)
    with pytest.raises(InputError, match="is no CSV of nsys stats"):
        read_profile(written(tmp_path, f"{HEADER}\n{damaged}"))
