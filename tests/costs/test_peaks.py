"""Dense peaks, against the figures that NVIDIA publishes."""

import pytest

from megatron_music.costs.devices import (
    PRECISIONS,
    dense_peak,
    device_memory_gib,
    known_devices,
)
from megatron_music.errors import UsageError


@pytest.mark.parametrize(
    ("device", "fp16", "bf16"),
    [
        ("Tesla V100-SXM3-32GB", 125, None),
        ("Tesla V100-SXM2-16GB", 125, None),
        ("Tesla V100-PCIE-32GB", 112, None),
        ("Tesla V100S-PCIE-32GB", 130, None),
        ("Tesla T4", 65, None),
        ("NVIDIA A100-SXM4-80GB", 312, 312),
        ("NVIDIA A10", 125, 125),
        ("NVIDIA RTX A6000", 154.8, 154.8),
        ("NVIDIA L40S", 362, 362),
        ("NVIDIA H100 80GB HBM3", 989, 989),
        ("NVIDIA H100 PCIe", 756, 756),
        ("NVIDIA H100 NVL", 835, 835),
        ("NVIDIA H200", 989, 989),
        ("NVIDIA H20", 148, 148),
        ("NVIDIA B200", 2250, 2250),
        ("NVIDIA GB200", 2500, 2500),
    ],
)
def test_the_dense_peaks_are_the_published_ones(
    device: str, fp16: float, bf16: float | None
) -> None:
    half, brain = dense_peak(device, "fp16"), dense_peak(device, "bf16")
    assert half is not None
    assert half.tflops == fp16
    assert (brain.tflops if brain else None) == bf16


@pytest.mark.parametrize("device", known_devices())
def test_every_device_tells_its_source_and_is_slowest_in_fp32(device: str) -> None:
    single, half = dense_peak(device, "fp32"), dense_peak(device, "fp16")
    assert single is not None
    assert half is not None
    assert single.source
    assert 0 < single.tflops < half.tflops


@pytest.mark.parametrize("device", ["NVIDIA H100", "nvidia h200", "Tesla V100", "", "cpu"])
def test_a_name_that_is_not_exact_is_not_guessed_at(device: str) -> None:
    assert all(dense_peak(device, precision) is None for precision in PRECISIONS)


def test_a_precision_that_no_recipe_has_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'fp8'; choose fp32, bf16, fp16"):
        dense_peak("NVIDIA H200", "fp8")


@pytest.mark.parametrize(
    ("device", "gigabytes"),
    [
        ("Tesla V100-SXM3-32GB", 32),
        ("NVIDIA A100-SXM4-80GB", 80),
        ("NVIDIA H100 80GB HBM3", 80),
        ("NVIDIA H200", 141),
        ("NVIDIA L40S", 48),
    ],
)
def test_a_device_s_memory_is_that_of_its_name_or_data_sheet(device: str, gigabytes: int) -> None:
    assert device_memory_gib(device) == pytest.approx(gigabytes * 1e9 / 2**30)


def test_memory_that_is_not_known_is_not_guessed() -> None:
    assert device_memory_gib("NVIDIA GB10") is None
