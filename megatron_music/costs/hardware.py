"""What a step's time depends on beside the peak: bandwidths, and the shares that are reached.

Bandwidths are those of data sheets, in GB/s (10^9 bytes) of one GPU, of its links in one direction.
The shares are assumptions, not measurements: `profile sweep` measures.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from megatron_music.costs.peaks import known_devices
from megatron_music.errors import UsageError

_PCIE_3, _PCIE_4, _PCIE_5 = 16.0, 32.0, 64.0
_HDR, _NDR = 25.0, 50.0
"""Networks: 200 and 400 Gbit/s a GPU."""


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
    """Memory for CUDA's context, NCCL's buffers and what lies between blocks."""


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
    """Return what is known of a device by its exact name, with `name=value` put in its place.

    Raises UsageError for an unknown device or name, and for values that are not above 0.
    """
    known = _BY_DEVICE.get(device.strip())
    if known is None:
        names = ", ".join(map(repr, known_devices()))
        raise UsageError(f"no bandwidths are known for the device {device!r}; give one of {names}")
    for assumption in assumptions:
        known = replace(known, **dict([_parse(assumption)]))
    return known


def _parse(assumption: str) -> tuple[str, Any]:
    name, _, text = assumption.partition("=")
    names = [field.name for field in fields(Hardware)]
    if name not in names:
        raise UsageError(f"--assume knows no {name!r}; there are {', '.join(names)}")
    try:
        value = int(text) if name == "gpus_per_node" else float(text)
    except ValueError:
        value = 0
    if not 0 < value < math.inf or (name.endswith("_share") and value > 1):
        limit = "in (0, 1]" if name.endswith("_share") else "above 0"
        whole = "whole " if name == "gpus_per_node" else ""
        raise UsageError(f"--assume {name} must be a {whole}number {limit} (got {text!r})")
    return name, value
