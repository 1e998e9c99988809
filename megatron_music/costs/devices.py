"""Figures of devices: dense peaks in TFLOP/s, by exact name and precision.

Names are those that drivers print. Tensor cores with 32-bit accumulation, no sparsity (data sheets
show the sparse figure, twice as high), boost clocks. fp32 is what the ordinary cores do: PyTorch
uses TF32 for it only when asked. Where a device cannot do a precision there is no peak for it.
"""

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

from megatron_music.errors import UsageError

PRECISIONS = ("fp32", "bf16", "fp16")
"""The precisions that a recipe can ask for."""

_MEMORY_GB: Mapping[str, int] = MappingProxyType(
    {
        "Tesla V100S-PCIE-32GB": 32,
        "Tesla T4": 16,
        "NVIDIA T4": 16,
        "NVIDIA A10": 24,
        "A10": 24,
        "NVIDIA RTX A6000": 48,
        "RTX A6000": 48,
        "NVIDIA L40S": 48,
        "NVIDIA H100 PCIe": 80,
        "NVIDIA H100 NVL": 94,
        "NVIDIA H200": 141,
        "NVIDIA H20": 96,
    }
)
"""The memory of devices whose names do not have it; from data sheets, in whole GB."""

_PCIE_3, _PCIE_4, _PCIE_5 = 16.0, 32.0, 64.0

_HDR, _NDR = 25.0, 50.0
"""Networks: 200 and 400 Gbit/s a GPU."""


@dataclass(frozen=True)
class Peak:
    """A dense peak in TFLOP/s, and where the figure is from."""

    tflops: float
    source: str


@dataclass(frozen=True)
class _Model:
    """One product under all the names that drivers give it; peaks in TFLOP/s."""

    names: tuple[str, ...]
    source: str
    fp32: float
    bf16: float | None
    fp16: float


@dataclass(frozen=True)
class Hardware:
    """A device's bandwidths, how it is connected, and what share of each is reached.

    `link_gb_s` is what a GPU sends to others of its node, `network_gb_s` to other nodes.
    """

    memory_gb_s: float
    link_gb_s: float
    network_gb_s: float
    gpus_per_node: int = 8
    matmul_share: float = 0.6
    attention_share: float = 0.35
    memory_share: float = 0.8
    link_share: float = 0.75
    launch_us: float = 8.0
    """What the CPU needs for each kernel: an iteration takes no less."""
    latency_us: float = 20.0
    """Of each collective."""
    reserve_gib: float = 2.0
    """Memory for CUDA's context, NCCL's buffers and fragmentation."""


_MODELS = (
    _Model(
        (
            "Tesla V100-SXM2-16GB",
            "Tesla V100-SXM2-32GB",
            "Tesla V100-SXM3-32GB",
            "Tesla V100-SXM3-32GB-H",
        ),
        "NVIDIA V100 data sheet, NVLink",
        fp32=15.7,
        bf16=None,
        fp16=125.0,
    ),
    _Model(
        ("Tesla V100-PCIE-16GB", "Tesla V100-PCIE-32GB"),
        "NVIDIA V100 data sheet, PCIe",
        fp32=14.0,
        bf16=None,
        fp16=112.0,
    ),
    _Model(("Tesla V100S-PCIE-32GB",), "NVIDIA V100 data sheet, V100S", 16.4, None, 130.0),
    _Model(("Tesla T4", "NVIDIA T4"), "NVIDIA T4 data sheet", 8.1, None, 65.0),
    _Model(
        (
            "NVIDIA A100-SXM4-40GB",
            "NVIDIA A100-SXM4-80GB",
            "NVIDIA A100-PCIE-40GB",
            "NVIDIA A100 80GB PCIe",
            "A100-SXM4-40GB",
            "A100-SXM4-80GB",
            "A100-PCIE-40GB",
        ),
        "NVIDIA A100 data sheet",
        fp32=19.5,
        bf16=312.0,
        fp16=312.0,
    ),
    _Model(("NVIDIA A10", "A10"), "NVIDIA A10 data sheet", 31.2, 125.0, 125.0),
    _Model(("NVIDIA RTX A6000", "RTX A6000"), "NVIDIA RTX A6000 data sheet", 38.7, 154.8, 154.8),
    _Model(("NVIDIA L40S",), "NVIDIA L40S data sheet", 91.6, 362.0, 362.0),
    _Model(("NVIDIA H100 80GB HBM3",), "NVIDIA H100 data sheet, SXM, halved", 67.0, 989.0, 989.0),
    _Model(("NVIDIA H100 PCIe",), "NVIDIA H100 data sheet, PCIe, halved", 51.0, 756.0, 756.0),
    _Model(("NVIDIA H100 NVL",), "NVIDIA H100 data sheet, NVL, halved", 60.0, 835.0, 835.0),
    _Model(("NVIDIA H200",), "NVIDIA H200 data sheet, SXM, halved", 67.0, 989.0, 989.0),
    _Model(("NVIDIA H20",), "NVIDIA H20 data sheet, as published", 44.0, 148.0, 148.0),
    _Model(("NVIDIA B200",), "NVIDIA DGX B200 data sheet, halved, of 8", 75.0, 2250.0, 2250.0),
    _Model(("NVIDIA GB200",), "NVIDIA GB200 NVL72 data sheet, halved, of 72", 80.0, 2500.0, 2500.0),
)


def dense_peak(device: str, precision: str) -> Peak | None:
    """Return the dense peak of a device, None if it is not known or cannot do the precision.

    The name has to be exact: a guess from a similar one may be wrong by a factor of two (an H100
    on SXM and one on PCIe), so a caller warns about an unknown device and measures it.
    """
    if precision not in PRECISIONS:
        raise UsageError(
            f"there is no peak for the precision '{precision}'; choose {', '.join(PRECISIONS)}"
        )
    for model in _MODELS:
        if device.strip() in model.names:
            tflops = getattr(model, precision)
            return None if tflops is None else Peak(tflops, model.source)
    return None


def device_memory_gib(device: str) -> float | None:
    """Return a device's memory by its exact name, as its data sheet says; None if not known.

    Data sheets count GB of 2^30 bytes for some devices and of 10^9 for others: taken as 10^9, so
    that a model that is reported to fit does.
    """
    written = re.search(r"(\d+)GB", device)
    size = int(written[1]) if written else _MEMORY_GB.get(device.strip())
    return None if size is None else size * 1e9 / 2**30


def known_devices() -> tuple[str, ...]:
    """Return the names of all devices with a known peak."""
    return tuple(name for model in _MODELS for name in model.names)


_V100 = Hardware(900, 150, 12.5)


_BY_DEVICE = {
    "Tesla V100-SXM2-16GB": _V100,
    "Tesla V100-SXM2-32GB": _V100,
    "Tesla V100-SXM3-32GB": replace(_V100, gpus_per_node=16),
    "Tesla V100-SXM3-32GB-H": replace(_V100, gpus_per_node=16),
    "Tesla V100-PCIE-16GB": Hardware(900, _PCIE_3, 12.5),
    "Tesla V100-PCIE-32GB": Hardware(900, _PCIE_3, 12.5),
    "Tesla V100S-PCIE-32GB": Hardware(1134, _PCIE_3, 12.5),
    "Tesla T4": Hardware(320, _PCIE_3, 12.5),
    "NVIDIA T4": Hardware(320, _PCIE_3, 12.5),
    "NVIDIA A100-SXM4-40GB": Hardware(1555, 300, _HDR),
    "NVIDIA A100-SXM4-80GB": Hardware(2039, 300, _HDR),
    "NVIDIA A100-PCIE-40GB": Hardware(1555, _PCIE_4, _HDR),
    "NVIDIA A100 80GB PCIe": Hardware(1935, _PCIE_4, _HDR),
    "A100-SXM4-40GB": Hardware(1555, 300, _HDR),
    "A100-SXM4-80GB": Hardware(2039, 300, _HDR),
    "A100-PCIE-40GB": Hardware(1555, _PCIE_4, _HDR),
    "NVIDIA A10": Hardware(600, _PCIE_4, _HDR),
    "A10": Hardware(600, _PCIE_4, _HDR),
    "NVIDIA RTX A6000": Hardware(768, _PCIE_4, _HDR),
    "RTX A6000": Hardware(768, _PCIE_4, _HDR),
    "NVIDIA L40S": Hardware(864, _PCIE_4, _HDR),
    "NVIDIA H100 80GB HBM3": Hardware(3350, 450, _NDR),
    "NVIDIA H100 PCIe": Hardware(2000, _PCIE_5, _NDR),
    "NVIDIA H100 NVL": Hardware(3900, _PCIE_5, _NDR),
    "NVIDIA H200": Hardware(4800, 450, _NDR),
    "NVIDIA H20": Hardware(4000, 450, _NDR),
    "NVIDIA B200": Hardware(8000, 900, _NDR),
    "NVIDIA GB200": Hardware(8000, 900, _NDR),
}


def hardware_of(device: str, assumptions: Sequence[str] = ()) -> Hardware:
    """Return the figures of a device by its exact name, with those of `name=value` replaced.

    Raises UsageError for an unknown device or name, and for values that are not above 0.
    """
    known = _BY_DEVICE.get(device.strip())
    if known is None:
        names = ", ".join(map(repr, known_devices()))
        raise UsageError(f"no bandwidths are known for the device {device!r}; give one of {names}")
    settings = [field.name for field in fields(Hardware)]
    for assumption in assumptions:
        name, _, text = assumption.partition("=")
        if name not in settings:
            raise UsageError(f"--assume knows no {name!r}; there are {', '.join(settings)}")
        value: float = 0
        with suppress(ValueError):
            value = int(text) if name == "gpus_per_node" else float(text)
        if not 0 < value < math.inf or (name.endswith("_share") and value > 1):
            limit = "in (0, 1]" if name.endswith("_share") else "above 0"
            whole = "whole " if name == "gpus_per_node" else ""
            raise UsageError(f"--assume {name} must be a {whole}number {limit} (got {text!r})")
        changed: dict[str, Any] = {name: value}
        known = replace(known, **changed)
    return known
