"""Figures of devices: dense peaks in TFLOP/s, by exact name and precision.

Names are those that drivers print. Tensor cores with 32-bit accumulation, no sparsity (data sheets
show the sparse figure, twice as high), boost clocks. fp32 is what the ordinary cores do: PyTorch
uses TF32 for it only when asked. Where a device cannot do a precision there is no peak for it.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any

from megatron_music.errors import UsageError

PRECISIONS = ("fp32", "bf16", "fp16")
"""The precisions that a recipe can ask for."""


@dataclass(frozen=True)
class Peak:
    """A dense peak in TFLOP/s, where the figure is from, and the name of the device."""

    tflops: float
    source: str
    device: str


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


Figures = tuple[str, float, float | None, float, int | None, float, float, float]

# By name: NVIDIA's data sheet; dense TFLOP/s in fp32, bf16 and fp16; memory in GB and GB/s; GB/s of
# the link to other GPUs of the node (16, 32 and 64 are PCIe 3, 4 and 5) and of the network for each
# GPU (25 and 50 are 200 and 400 Gbit/s).
_DEVICES: Mapping[str, Figures] = {
    "Tesla V100-SXM2-16GB": ("V100 data sheet, NVLink", 15.7, None, 125, 16, 900, 150, 12.5),
    "Tesla V100-SXM2-32GB": ("V100 data sheet, NVLink", 15.7, None, 125, 32, 900, 150, 12.5),
    "Tesla V100-SXM3-32GB": ("V100 data sheet, NVLink", 15.7, None, 125, 32, 900, 150, 12.5),
    "Tesla V100-SXM3-32GB-H": ("V100 data sheet, NVLink", 15.7, None, 125, 32, 900, 150, 12.5),
    "Tesla V100-PCIE-16GB": ("V100 data sheet, PCIe", 14, None, 112, 16, 900, 16, 12.5),
    "Tesla V100-PCIE-32GB": ("V100 data sheet, PCIe", 14, None, 112, 32, 900, 16, 12.5),
    "Tesla V100S-PCIE-32GB": ("V100 data sheet, V100S", 16.4, None, 130, 32, 1134, 16, 12.5),
    "Tesla T4": ("T4 data sheet", 8.1, None, 65, 16, 320, 16, 12.5),
    "NVIDIA T4": ("T4 data sheet", 8.1, None, 65, 16, 320, 16, 12.5),
    "NVIDIA A100-SXM4-40GB": ("A100 data sheet", 19.5, 312, 312, 40, 1555, 300, 25),
    "NVIDIA A100-SXM4-80GB": ("A100 data sheet", 19.5, 312, 312, 80, 2039, 300, 25),
    "NVIDIA A100-PCIE-40GB": ("A100 data sheet", 19.5, 312, 312, 40, 1555, 32, 25),
    "NVIDIA A100 80GB PCIe": ("A100 data sheet", 19.5, 312, 312, 80, 1935, 32, 25),
    "A100-SXM4-40GB": ("A100 data sheet", 19.5, 312, 312, 40, 1555, 300, 25),
    "A100-SXM4-80GB": ("A100 data sheet", 19.5, 312, 312, 80, 2039, 300, 25),
    "A100-PCIE-40GB": ("A100 data sheet", 19.5, 312, 312, 40, 1555, 32, 25),
    "NVIDIA A10": ("A10 data sheet", 31.2, 125, 125, 24, 600, 32, 25),
    "A10": ("A10 data sheet", 31.2, 125, 125, 24, 600, 32, 25),
    "NVIDIA RTX A6000": ("RTX A6000 data sheet", 38.7, 154.8, 154.8, 48, 768, 32, 25),
    "RTX A6000": ("RTX A6000 data sheet", 38.7, 154.8, 154.8, 48, 768, 32, 25),
    "NVIDIA L40S": ("L40S data sheet", 91.6, 362, 362, 48, 864, 32, 25),
    "NVIDIA H100 80GB HBM3": ("H100 data sheet, SXM, halved", 67, 989, 989, 80, 3350, 450, 50),
    "NVIDIA H100 PCIe": ("H100 data sheet, PCIe, halved", 51, 756, 756, 80, 2000, 64, 50),
    "NVIDIA H100 NVL": ("H100 data sheet, NVL, halved", 60, 835, 835, 94, 3900, 64, 50),
    "NVIDIA H200": ("H200 data sheet, SXM, halved", 67, 989, 989, 141, 4800, 450, 50),
    "NVIDIA H20": ("H20 data sheet, as published", 44, 148, 148, 96, 4000, 450, 50),
    "NVIDIA B200": ("DGX B200 data sheet, halved, of 8", 75, 2250, 2250, None, 8000, 900, 50),
    "NVIDIA GB200": ("GB200 NVL72 data sheet, halved, of 72", 80, 2500, 2500, None, 8000, 900, 50),
}
_SIXTEEN_A_NODE = ("Tesla V100-SXM3-32GB", "Tesla V100-SXM3-32GB-H")


def dense_peak(device: str, precision: str) -> Peak | None:
    """Return the dense peak of a device, None if it is not known or cannot do the precision.

    The name has to be exact: a guess from a similar one may be wrong by a factor of two (an H100
    on SXM and one on PCIe), so a caller warns about an unknown device and measures it.
    """
    if precision not in PRECISIONS:
        raise UsageError(
            f"there is no peak for the precision '{precision}'; choose {', '.join(PRECISIONS)}"
        )
    known = _DEVICES.get(device.strip())
    if known is None:
        return None
    source, fp32, bf16, fp16, *_ = known
    tflops = {"fp32": fp32, "bf16": bf16, "fp16": fp16}[precision]
    return None if tflops is None else Peak(float(tflops), f"NVIDIA {source}", device.strip())


def device_memory_gib(device: str) -> float | None:
    """Return a device's memory by its exact name, as its data sheet says; None if not known.

    Data sheets count GB of 2^30 bytes for some devices and of 10^9 for others: taken as 10^9, so
    that a model that is reported to fit does.
    """
    known = _DEVICES.get(device.strip())
    return None if known is None or known[4] is None else known[4] * 1e9 / 2**30


def known_devices() -> tuple[str, ...]:
    """Return the names of all devices with a known peak."""
    return tuple(_DEVICES)


def hardware_of(device: str, assumptions: Sequence[str] = ()) -> Hardware:
    """Return the figures of a device by its exact name, with those of `name=value` replaced.

    Raises UsageError for an unknown device or name, and for values that are not above 0.
    """
    figures = _DEVICES.get(device.strip())
    if figures is None:
        names = ", ".join(map(repr, known_devices()))
        raise UsageError(f"no bandwidths are known for the device {device!r}; give one of {names}")
    known = Hardware(*figures[-3:], gpus_per_node=16 if device.strip() in _SIXTEEN_A_NODE else 8)
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
