"""Choose backends for a device: precision, kernels, fusions, overlaps.

Each is a function of what is there and what is asked, so that it can be tested over a table of
devices that are not at hand. Loads neither torch nor megatron.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from megatron_music.config import Recipe, Switch
from megatron_music.costs.layout import splits_sequence
from megatron_music.errors import LayoutError, UsageError

Precision = Literal["fp32", "bf16", "fp16"]

AMPERE = (8, 0)
"""Compute capability from which there are bf16, FlashAttention and Transformer Engine."""

TRANSFORMER_ENGINE = "transformer_engine"
APEX_NORM = "fused_layer_norm_cuda"
FUSED_WGRAD = "fused_weight_gradient_mlp_cuda"
"""Modules: NVIDIA's Transformer Engine, and two of the CUDA extensions of NVIDIA's Apex."""

_CPU_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}


@dataclass(frozen=True)
class Device:
    """A device: its name, its CUDA compute capability (None for a CPU), and if it has bf16."""

    name: str
    capability: tuple[int, int] | None
    has_bf16: bool

    @property
    def is_cuda(self) -> bool:
        """Whether the device is a GPU."""
        return self.capability is not None

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The precisions that it can compute in, the best first; Megatron's fp16 needs a GPU."""
        brain: tuple[Precision, ...] = ("bf16",) if self.has_bf16 else ()
        return (*brain, "fp16", "fp32") if self.is_cuda else (*brain, "fp32")


@dataclass(frozen=True)
class Kernels:
    """The kernels of the layers, and a text that explains the choice."""

    transformer_impl: Literal["transformer_engine", "local"]
    text: str


@dataclass(frozen=True)
class Overlaps:
    """Which communication of Megatron's DDP overlaps computation."""

    grad_reduce: bool
    param_gather: bool


def gpu(name: str, capability: tuple[int, int]) -> Device:
    """Describe a GPU."""
    return Device(name, capability, has_bf16=capability >= AMPERE)


def cpu(flags: set[str] | None = None) -> Device:
    """Describe a CPU by its flags, else this machine's."""
    if flags is None:
        flags = set()
        with suppress(OSError):  # there is no such file on other systems than Linux
            text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
            lines = [line for line in text.splitlines() if line.startswith("flags")]
            flags = set(lines[0].partition(":")[2].split()) if lines else set()
    return Device("CPU", None, has_bf16=bool(flags & _CPU_BF16_FLAGS))


def installed() -> frozenset[str]:
    """Return which of the optional kernel packages are installed."""
    return frozenset(
        name for name in (TRANSFORMER_ENGINE, APEX_NORM, FUSED_WGRAD) if find_spec(name)
    )


def resolve_auto_precision(recipe: Recipe, device: Device) -> Recipe:
    """Replace precision `auto` by the device's best; raises UsageError for one it cannot do."""
    asked = recipe.train.precision
    if asked == "auto":
        train = recipe.train.model_copy(update={"precision": device.precisions[0]})
        return recipe.model_copy(update={"train": train})
    if asked not in device.precisions:
        name = "a CPU" if device.has_bf16 else "this CPU (no avx512_bf16 or amx_bf16)"
        raise UsageError(
            f"train.precision={asked} is not for {device.name if device.is_cuda else name}; "
            f"use train.precision={' or '.join(device.precisions)}"
        )
    return recipe


def choose_kernels(asked: str, device: Device, packages: frozenset[str]) -> Kernels:
    """Choose the layers' kernels; raises UsageError if the recipe's choice is not available."""
    if device.capability is None:
        lack = "no GPU"
    elif device.capability < AMPERE:
        lack = f"{device.name} is of a generation before Transformer Engine and FlashAttention"
    else:
        lack = "" if TRANSFORMER_ENGINE in packages else "Transformer Engine is not installed"
    if asked == TRANSFORMER_ENGINE and lack:
        raise UsageError(
            f"train.transformer_impl={asked} cannot be had: {lack}; "
            "use train.transformer_impl=local or auto"
        )
    if asked in (TRANSFORMER_ENGINE, "auto") and not lack:
        return Kernels("transformer_engine", "Transformer Engine")
    why = lack if asked == "auto" else "asked for"
    norms = ", Apex norms" if device.is_cuda and APEX_NORM in packages else ""
    attention = "scaled_dot_product_attention" if device.is_cuda else "attention by blocks"
    return Kernels("local", f"torch {attention} in Megatron's local layers{norms} ({why})")


def has_parallel_norms(kernels: Kernels, packages: frozenset[str]) -> bool:
    """Tell whether the layers' norms can work on parts of a sequence; torch's norm cannot."""
    return kernels.transformer_impl == TRANSFORMER_ENGINE or APEX_NORM in packages


def choose_sequence_parallel(
    recipe: Recipe, device: Device, kernels: Kernels, packages: frozenset[str]
) -> bool:
    """Resolve sequence parallel `auto`; raises LayoutError where it is on but not possible."""
    asked = recipe.parallel.sequence_parallel
    can = device.is_cuda and has_parallel_norms(kernels, packages)
    if asked is True and not can:
        raise LayoutError(
            "parallel.sequence_parallel=true needs a GPU with Transformer Engine or Apex; "
            "use parallel.sequence_parallel=false"
        )
    return can and splits_sequence(recipe)


def choose_overlaps(recipe: Recipe, device: Device, data_parallel_size: int) -> Overlaps:
    """Decide on the overlaps; by themselves on GPUs with more than one data parallel rank.

    Megatron gathers parameters late only with the distributed optimizer and late gradients.
    Raises LayoutError where that is asked for without.
    """
    parallel, useful = recipe.parallel, device.is_cuda and data_parallel_size > 1
    grads = _switch(parallel.overlap_grad_reduce, lambda: useful)
    can = grads and parallel.use_distributed_optimizer
    if parallel.overlap_param_gather is True and not can:
        raise LayoutError(
            "parallel.overlap_param_gather=true needs parallel.overlap_grad_reduce=true and "
            "parallel.use_distributed_optimizer=true; set them, or switch it off"
        )
    return Overlaps(grads, _switch(parallel.overlap_param_gather, lambda: can and useful))


def fuses_gradient_accumulation(device: Device, packages: frozenset[str]) -> bool:
    """Decide whether weight gradients are added up inside the matrix products: Apex does it."""
    return device.is_cuda and FUSED_WGRAD in packages


def _switch(asked: Switch, auto: Callable[[], bool]) -> bool:
    return auto() if asked == "auto" else asked
