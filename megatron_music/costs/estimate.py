"""Estimate a recipe on a named device: parameters, memory, FLOPs, days. Loads no torch."""

import difflib
import time
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from megatron_music.config import Recipe
from megatron_music.costs.devices import PRECISIONS, dense_peak, device_memory_gib, known_devices
from megatron_music.costs.flops import model_causal, recipe_shape
from megatron_music.costs.layout import check_layout
from megatron_music.costs.memory import Memory, estimate_memory, parameter_count
from megatron_music.errors import UsageError

GIB = 1 << 30
TERA = 1e12

UTILISATION = 0.35
"""The share of the dense peak by `model_causal`, unless the user states another."""

SHARE = 0.4
"""The share of the rate of a plain matrix product that training reaches: `tiny`, two cores."""

HOUR_S, DAY_S = 3_600, 86_400
_SIZE, _TRIES = 1_024, 5


class OnDevice(TypedDict):
    """What a run takes on a device; `fits` is None where the device's memory is not known."""

    device: str
    utilisation: float
    peak_tflops: float
    tokens_per_s: float
    days: float
    fits: bool | None


@dataclass(frozen=True)
class Estimate:
    """What a recipe will cost; FLOPs by the formula `model_causal`, memory of the fullest GPU."""

    recipe: Recipe
    processes: int
    data_parallel_size: int
    vocabulary_size: int
    parameters: int
    memory: Memory
    tokens_per_iteration: int
    flops_per_iteration: float
    on_device: OnDevice | None
    """None where no device is named."""

    @property
    def tokens(self) -> int:
        """Tokens of the whole run."""
        return self.tokens_per_iteration * self.recipe.train.train_iters

    @property
    def flops(self) -> float:
        """FLOPs of the whole run."""
        return self.flops_per_iteration * self.recipe.train.train_iters


def estimate(
    recipe: Recipe,
    vocabulary_size: int,
    processes: int,
    device: str | None = None,
    utilisation: float = UTILISATION,
    position_rows: int | None = None,
) -> Estimate:
    """Estimate a recipe over `processes`; `position_rows` is as in `parameter_count`.

    Raises LayoutError for a layout that cannot work and UsageError for an unknown device or one
    that cannot do the recipe's precision.
    """
    settled = settle_precision(recipe, device)
    data = check_layout(settled, processes)
    memory = estimate_memory(settled, vocabulary_size, data, position_rows)
    shape = recipe_shape(settled, vocabulary_size)
    tokens, flops = shape.global_batch_size * shape.seq_length, model_causal(shape)
    placed: OnDevice | None = None
    if device is not None:
        peak, room = peak_tflops(device, settled.train.precision), device_memory_gib(device)
        rate = processes * peak * TERA * utilisation / flops  # iterations a second
        placed = {
            "device": device,
            "utilisation": utilisation,
            "peak_tflops": peak,
            "tokens_per_s": rate * tokens,
            "days": settled.train.train_iters / rate / DAY_S,
            "fits": None if room is None else memory.total < room * GIB,
        }
    return Estimate(
        recipe=settled,
        processes=processes,
        data_parallel_size=data,
        vocabulary_size=vocabulary_size,
        parameters=parameter_count(settled.model, vocabulary_size, position_rows),
        memory=memory,
        tokens_per_iteration=tokens,
        flops_per_iteration=flops,
        on_device=placed,
    )


def settle_precision(recipe: Recipe, device: str | None) -> Recipe:
    """Replace precision `auto` by the device's best 16-bit one, bf16 without a device."""
    if recipe.train.precision != "auto":
        return recipe
    has_bf16 = device is None or dense_peak(device, "bf16") is not None
    train = recipe.train.model_copy(update={"precision": "bf16" if has_bf16 else "fp16"})
    return recipe.model_copy(update={"train": train})


def peak_tflops(device: str, precision: str) -> float:
    """Return a device's dense peak; raises UsageError where it is not known or has none."""
    peak = dense_peak(device, precision)
    if peak is not None:
        return peak.tflops
    can = [name for name in PRECISIONS if dense_peak(device, name)]
    if can:
        raise UsageError(
            f"{device} does not compute in {precision}; set train.precision to {' or '.join(can)}"
        )
    known = known_devices()
    holding = [name for name in known if device.strip().lower() in name.lower()]
    near = holding or difflib.get_close_matches(device, known, n=3, cutoff=0.5) or list(known)
    raise UsageError(
        f"no peak is known for the device {device!r}; give its exact name, as nvidia-smi -L "
        f"prints it: {', '.join(repr(name) for name in near)}"
    )


def cpu_flops_per_s() -> float:
    """Return the FLOPs a second of training in fp32 here; takes a fraction of a second."""
    matrix = np.full((_SIZE, _SIZE), 0.5, np.float32)
    matrix @ matrix  # starts the threads
    best_s = np.inf
    for _ in range(_TRIES):
        began_s = time.perf_counter()
        matrix @ matrix
        # The least time: anything else that runs here only adds to it.
        best_s = min(best_s, time.perf_counter() - began_s)
    return SHARE * 2 * _SIZE**3 / best_s


def cpu_iteration_s(recipe: Recipe, vocabulary_size: int, flops_per_s: float) -> float:
    """Return the seconds of an iteration, of all processes on this machine together."""
    return model_causal(recipe_shape(recipe, vocabulary_size)) / flops_per_s
