"""A rehearsal on a named device: what its ranks hold, what they send, how long a step takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from megatron_music.config import Recipe
from megatron_music.costs.devices import Hardware, dense_peak, device_memory_gib, hardware_of
from megatron_music.costs.estimate import peak_tflops, settle_precision
from megatron_music.costs.layout import check_layout
from megatron_music.costs.step_time import RankLoad, StepTime, Transfer, estimate_step
from megatron_music.errors import LayoutError
from megatron_music.train import backends
from megatron_music.train.blend import Blend, common_vocabulary
from megatron_music.train.pretrain import silence_megatron

GIB = 1 << 30
_BEFORE_AMPERE = (7, 0)
_PARTS = ("weights", "gradients", "optimizer", "activations")


@dataclass(frozen=True)
class Rehearsal:
    """What a rehearsal found; `recipe` has its precision settled."""

    recipe: Recipe
    device: str
    world_size: int
    data_parallel_size: int
    microbatches: int
    loads: tuple[RankLoad, ...]
    time: StepTime
    hardware: Hardware
    peak_tflops: float

    @property
    def fullest(self) -> RankLoad:
        """The rank that holds most."""
        return max(self.loads, key=lambda load: load.memory.total)

    def calls(self, transfer: Transfer) -> float:
        """Return how often a rank calls a transfer in a step."""
        return transfer.calls * (1 if transfer.is_once else self.microbatches)


def rehearse_on(
    recipe: Recipe,
    blend: Blend,
    device: str,
    world_size: int,
    assumptions: Sequence[str] = (),
    **options: Any,
) -> Rehearsal:
    """Rehearse a recipe on `world_size` devices, and estimate a step's time.

    Raises LayoutError for a layout that cannot work or a rank that would not fit, UsageError for
    an unknown device or assumption, DataError, TrainingError.
    """
    settled = settle_precision(recipe, device)
    peak = peak_tflops(device, settled.train.precision)
    hardware = hardware_of(device, assumptions)
    data, train = check_layout(settled, world_size), settled.train
    # Only whether it has bf16 decides what is computed: any generation of that kind will do.
    has_bf16 = dense_peak(device, "bf16") is not None
    kind = backends.gpu(device, backends.AMPERE if has_bf16 else _BEFORE_AMPERE)
    with silence_megatron():
        from megatron_music.train.rehearsal.rehearse import rehearse

        loads = rehearse(settled, blend, kind, world_size, **options)
    vocabulary_size = len(common_vocabulary(blend))
    found = Rehearsal(
        recipe=settled,
        device=device,
        world_size=world_size,
        data_parallel_size=data,
        microbatches=train.global_batch_size // (train.micro_batch_size * data),
        loads=tuple(loads),
        time=estimate_step(settled, vocabulary_size, loads, world_size, peak, hardware),
        hardware=hardware,
        peak_tflops=peak,
    )
    load, whole_gib = found.fullest, device_memory_gib(device)
    memory = load.memory
    if whole_gib is not None and memory.total > (whole_gib - hardware.reserve_gib) * GIB:
        parts = ", ".join(f"{part} {getattr(memory, part) / GIB:.1f}" for part in _PARTS)
        raise LayoutError(
            f"rank {load.rank} (pipeline stage {load.stage}) would hold {memory.total / GIB:.1f} "
            f"GiB ({parts}), and {device} has {whole_gib:.1f}, of which {hardware.reserve_gib:g} "
            "are not for tensors; use a smaller train.micro_batch_size, train.recompute=full, or "
            "a larger TP or PP"
        )
    return found
