"""Watching GPUs: the real nvidia-ml-py on a stand-in for the driver's library."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from megatron_music.errors import InputError
from megatron_music.profiling.nvml.reader import (
    DeviceSample,
    Sample,
    from_json,
    select,
    to_json,
)
from tests.cli.program import Program

SECOND = "GPU-00000000-0000-0000-0000-000000000001"
EVERYTHING = {field.name for field in fields(DeviceSample)} - {
    "lost",  # it is not
    "mig_uuids",  # nor is it split
    "fan_percent",  # a DGX's GPUs have none of their own
    "pcie_tx_bytes_per_s",  # asked for where there are no counters
    "pcie_rx_bytes_per_s",
}
"""What the stub's GPUs tell."""


def look(program: Program, driver: dict[str, str], **environment: str) -> list[dict[str, Any]]:
    done = program("profile", "nvml", "--once", "--json", **driver, **environment)
    (line,) = done.stdout.splitlines()
    devices: list[dict[str, Any]] = json.loads(line)["devices"]
    return devices


def test_every_gpu_tells_what_it_does_also_those_hidden_from_cuda(
    program: Program, driver: dict[str, str]
) -> None:
    one, two = look(program, driver, CUDA_VISIBLE_DEVICES="1")
    assert set(one) == EVERYTHING
    assert one["name"] == "Tesla V100-SXM3-32GB"
    assert (two["index"], two["uuid"], two["gpu_utilization"]) == (1, SECOND, 91)
    assert (one["gpu_utilization"], one["temperature_c"], one["energy_mj"]) == (90, 58, 1_005_000)
    assert one["memory_total_bytes"] == 32768 << 20
    assert one["memory_used_bytes"] == 1000 << 20  # as nvidia-smi shows it
    assert (one["sm_clock_mhz"], one["memory_clock_mhz"]) == (1597, 958)
    assert (one["power_w"], one["power_limit_w"]) == (312.5, 350)
    assert (one["pcie_tx_bytes"], one["pcie_rx_bytes"]) == (7197, 7198)
    assert one["nvlink_tx_bytes"] == (5 << 30) * 1024
    assert one["throttle_reasons"] == ["power cap", "thermal, hardware"]  # "idle" is none


def test_functions_that_an_old_driver_lacks_are_done_without(
    program: Program, old_driver: dict[str, str]
) -> None:
    one, _ = look(program, old_driver)
    assert "energy_mj" not in one
    assert "nvlink_tx_bytes" not in one
    assert one["throttle_reasons"] == ["power cap"]
    assert one["memory_used_bytes"] == 1500 << 20
    assert one["pcie_tx_bytes_per_s"] == 1000 * 1024
    assert one["power_w"] == 312.5


@pytest.mark.parametrize(
    ("functions", "missing"),
    [
        ("GetPowerUsage", {"power_w"}),
        ("GetEnforcedPowerLimit", {"power_limit_w"}),
        ("GetUtilizationRates", {"gpu_utilization", "memory_utilization"}),
        ("GetTotalEnergyConsumption", {"energy_mj"}),
        ("GetTemperature", {"temperature_c"}),
        ("GetClockInfo", {"sm_clock_mhz", "memory_clock_mhz"}),
        ("GetMemoryInfo_v2,GetMemoryInfo", {"memory_used_bytes", "memory_total_bytes"}),
        ("GetName", {"name"}),
        ("NvLink", {"nvlink_tx_bytes", "nvlink_rx_bytes"}),
    ],
)
def test_what_is_not_supported_is_missing_alone(
    program: Program, driver: dict[str, str], functions: str, missing: set[str]
) -> None:
    told = set(look(program, driver, STUB_UNSUPPORTED=functions)[0])
    assert EVERYTHING - told == missing


def test_a_lost_gpu_does_not_take_the_others_with_it(
    program: Program, driver: dict[str, str]
) -> None:
    one, two = look(program, driver, STUB_LOST="1")
    assert one["gpu_utilization"] == 90
    assert two == {"index": 1, "lost": True}
    shown = program("profile", "nvml", "--once", **driver, STUB_LOST="1").stdout
    for figure in ("Tesla V100-SXM3-32GB", "90%", "1000 / 32768", "312 / 350", "1597 MHz", "58 C",
                   "power cap", "LOST"):  # fmt: skip
        assert figure in shown


def test_a_gpu_that_mig_splits_names_its_parts_and_says_what_it_does_not_count(
    program: Program, driver: dict[str, str]
) -> None:
    split, whole = look(program, driver, STUB_MIG="0")
    parts = [f"MIG-00000000-0000-0000-0000-{number:012}" for number in (100, 101)]
    assert split["mig_uuids"] == parts
    assert "gpu_utilization" not in split
    assert "mig_uuids" not in whole
    shown = program("profile", "nvml", "--once", **driver, STUB_MIG="0").stdout
    assert "split by MIG has no utilization" in " ".join(shown.split())


def test_the_stream_continues_until_it_is_interrupted(
    program: Program, driver: dict[str, str]
) -> None:
    watching = subprocess.Popen(
        [sys.executable, "-m", "megatron_music", "profile", "nvml", "--json", "--interval", "0.05"],
        env=os.environ | driver,
        cwd=program.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    times = [from_json(watching.stdout.readline()).time_s for _ in range(4)]
    watching.send_signal(signal.SIGINT)
    _, said = watching.communicate(timeout=30)
    assert times == sorted(set(times))
    assert watching.returncode == 0
    assert said == ""


def test_what_cannot_be_watched_is_one_line(
    program: Program, driver: dict[str, str], tmp_path: Path
) -> None:
    line = program.fails(1, "profile", "nvml", "--once", **driver, STUB_INIT="9")
    assert "Driver Not Loaded" in line
    assert "nvidia-smi" in line
    (tmp_path / "libnvidia-ml.so.1").write_text("not a library")
    line = program.fails(1, "profile", "nvml", "--once", LD_LIBRARY_PATH=str(tmp_path))
    assert "no NVIDIA driver" in line


SAMPLE = Sample(
    12.5,
    (
        DeviceSample(0, "GPU-aa", "one", gpu_utilization=0, throttle_reasons=("power cap",)),
        DeviceSample(1, "GPU-bb", "two", lost=True),
    ),
)


def test_a_sample_survives_its_line_and_fields_of_a_later_version_are_passed_over() -> None:
    assert "\n" not in to_json(SAMPLE)
    assert from_json(to_json(SAMPLE)) == SAMPLE
    line = '{"time_s":1,"devices":[{"index":0,"uuid":"GPU-aa","colour":"green"}]}'
    assert from_json(line) == Sample(1, (DeviceSample(0, "GPU-aa"),))


@pytest.mark.parametrize("line", ["", "{", "[]", '{"time_s":1}', '{"time_s":1,"devices":[{}]}'])
def test_a_line_that_is_not_a_sample_is_refused(line: str) -> None:
    with pytest.raises(InputError, match="not a sample of NVML"):
        from_json(line)


def test_gpus_are_picked_by_uuid_with_and_without_its_prefix() -> None:
    assert [device.name for device in select(SAMPLE, ["BB", "GPU-aa"]).devices] == ["two", "one"]
    assert select(SAMPLE, None) == SAMPLE
    with pytest.raises(InputError, match="knows no GPU cc; it knows: aa, bb"):
        select(SAMPLE, ["cc"])


def test_a_mig_device_means_the_gpu_it_is_part_of() -> None:
    sample = Sample(1.0, (DeviceSample(0, "GPU-aa", mig_uuids=("MIG-cc", "MIG-dd")),))
    assert from_json(to_json(sample)) == sample
    for uuid in ("MIG-dd", "cc", "aa"):
        assert select(sample, [uuid]) == sample
