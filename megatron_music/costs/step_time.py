"""The work of one rank in a training step, as a rehearsal counts it, and its time. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from megatron_music.config import Recipe
from megatron_music.costs.devices import Hardware
from megatron_music.costs.flops import model_causal, recipe_shape

Phase = Literal["forward", "backward", "step"]
"""`forward` and `backward` are the passes of a microbatch; `step` is what is done once a step."""

Agreed = tuple[str, str, str, tuple[int, ...], float]
"""Kind, group, dtype and shape of a transfer, and how often it is called."""

GIGA, TERA, MICRO = 1e9, 1e12, 1e-6
_PASSES: tuple[Phase, ...] = ("forward", "backward")
HIDING_SHARE = 0.5

_TIMES_SENT = {"all_reduce": 2.0, "send": 0.5, "recv": 0.5}
"""How often a ring sends each byte, 1 for other transfers; send and receive overlap."""


@dataclass
class Work:
    """The computation of a rank in a phase.

    `products` counts matrix products by their FLOPs and the bytes of their three matrices;
    `moved_bytes` are those of all other kernels but attention's.
    """

    products: dict[tuple[float, float], float] = field(default_factory=dict)
    attention_flops: float = 0.0
    moved_bytes: float = 0.0
    kernels: float = 0.0

    @property
    def matmul_flops(self) -> float:
        """FLOPs of all matrix products."""
        return sum(flops * calls for (flops, _), calls in self.products.items())

    def one_of(self, passes: int) -> "Work":
        """Return the work of one of `passes` equal passes."""
        return Work(
            {size: calls / passes for size, calls in self.products.items()},
            self.attention_flops / passes,
            self.moved_bytes / passes,
            self.kernels / passes,
        )


@dataclass(frozen=True)
class Transfer:
    """Equal calls of one collective in a phase.

    `group` is the parallel group: tensor, data, pipeline, embedding or all; `ranks` are its
    members, of `send` and `recv` from where to where. `size_bytes` is the whole tensor of a call:
    what is gathered, scattered, reduced or sent. `is_async` tells a call that returns at once.
    """

    phase: Phase
    kind: str
    group: str
    ranks: tuple[int, ...]
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int
    is_async: bool
    calls: float = 1.0

    @property
    def is_once(self) -> bool:
        """Whether it happens once a step, in either pass if it is data parallelism's."""
        return self.group == "data" or (self.phase == "step" and self.group != "pipeline")

    @property
    def agreed(self) -> Agreed:
        """The properties that must be the same on all ranks of the transfer."""
        return self.kind, self.group, self.dtype, self.shape, self.calls


@dataclass(frozen=True)
class RankMemory:
    """The most that a rank's tensors hold at a time, in bytes, by part."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All parts together."""
        return self.weights + self.gradients + self.optimizer + self.activations


@dataclass(frozen=True)
class RankLoad:
    """A rank of a layout: its place, its memory, and its part in a step.

    Work of the passes is that of one microbatch; so are transfers, but those that are `is_once`.
    `activations` of its memory are all that is held for a time.
    """

    rank: int
    stage: int
    data_rank: int
    memory: RankMemory
    work: dict[Phase, Work]
    transfers: tuple[Transfer, ...]


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step by what the slowest stage does; `utilisation` is by `model_causal`."""

    compute_s: float
    tensor_s: float
    pipeline_s: float
    data_s: float
    bubble_s: float
    tokens_per_s: float
    utilisation: float

    @property
    def communication_s(self) -> float:
        """Communication that no computation overlaps."""
        return self.tensor_s + self.pipeline_s + self.data_s

    @property
    def step_s(self) -> float:
        """The time of the whole step."""
        return self.compute_s + self.communication_s + self.bubble_s


@dataclass(frozen=True)
class _Stage:
    """Seconds of a microbatch on a stage, and of what is done once a step."""

    compute_s: float
    tensor_s: float
    pipeline_s: float
    once_compute_s: float
    once_data_s: float

    @property
    def microbatch_s(self) -> float:
        """Seconds of both passes of a microbatch."""
        return self.compute_s + self.tensor_s + self.pipeline_s


def estimate_step(
    recipe: Recipe,
    vocabulary_size: int,
    loads: Sequence[RankLoad],
    world_size: int,
    peak_tflops: float,
    hardware: Hardware,
) -> StepTime:
    """Estimate a step of a layout from the loads of its distinct ranks."""
    parallel, train = recipe.parallel, recipe.train
    stages = parallel.pipeline_model_parallel_size
    data = world_size // (stages * parallel.tensor_model_parallel_size)
    microbatches = train.global_batch_size // (train.micro_batch_size * data)
    timed = [(load.stage, _stage(load, peak_tflops, hardware)) for load in loads]
    by_stage = dict(sorted(timed, key=lambda one: one[1].microbatch_s))
    # Only distinct ranks were rehearsed: the middle stages are alike, and the second stands for
    # them.
    all_stages = [by_stage.get(stage, by_stage[min(1, stages - 1)]) for stage in range(stages)]
    slowest = max(all_stages, key=lambda one: one.microbatch_s)
    # Filling and draining the pipeline: one microbatch passes through every other stage.
    bubble_s = sum(one.microbatch_s for one in all_stages) - slowest.microbatch_s
    shape = recipe_shape(recipe, vocabulary_size)
    time = StepTime(
        compute_s=microbatches * slowest.compute_s + max(one.once_compute_s for one in all_stages),
        tensor_s=microbatches * slowest.tensor_s,
        pipeline_s=microbatches * slowest.pipeline_s,
        data_s=max(one.once_data_s for one in all_stages),
        bubble_s=bubble_s,
        tokens_per_s=0.0,
        utilisation=0.0,
    )
    return replace(
        time,
        tokens_per_s=shape.global_batch_size * shape.seq_length / time.step_s,
        utilisation=model_causal(shape) / (time.step_s * world_size * peak_tflops * TERA),
    )


def _stage(load: RankLoad, peak_tflops: float, hardware: Hardware) -> _Stage:
    work = {phase: _compute_s(one, peak_tflops, hardware) for phase, one in load.work.items()}
    once = [one for one in load.transfers if one.is_once]
    passing = [one for one in load.transfers if not one.is_once and one.group != "pipeline"]
    tensor_s = 0.0
    for phase in _PASSES:
        products_s = _products_s(load.work[phase], peak_tflops, hardware)
        of_phase = [one for one in passing if one.phase == phase]
        hidden_s = sum(transfer_s(one, hardware) for one in of_phase if one.is_async)
        # Products share the GPU with the transfers that they hide.
        tensor_s += max(0.0, hidden_s - HIDING_SHARE * products_s)
        tensor_s += sum(transfer_s(one, hardware) for one in of_phase if not one.is_async)
    data_s = sum(transfer_s(one, hardware) for one in once if one.phase == "step")
    for phase in _PASSES:
        started = [one for one in once if one.phase == phase]
        started_s = sum(transfer_s(one, hardware) for one in started)
        buckets = sum(one.calls for one in started)
        # Buckets are sent while the pass computes; no computation overlaps with the last one.
        data_s += max(started_s - work[phase], started_s / max(1.0, buckets))
    return _Stage(
        compute_s=work["forward"] + work["backward"],
        tensor_s=tensor_s,
        pipeline_s=sum(
            transfer_s(one, hardware) for one in load.transfers if one.group == "pipeline"
        ),
        once_compute_s=work["step"],
        once_data_s=data_s,
    )


def _compute_s(work: Work, peak_tflops: float, hardware: Hardware) -> float:
    busy_s = _products_s(work, peak_tflops, hardware)
    busy_s += work.attention_flops / (peak_tflops * TERA * hardware.attention_share)
    busy_s += work.moved_bytes / (hardware.memory_gb_s * GIGA * hardware.memory_share)
    # Small models wait for the CPU, which launches one kernel after another.
    return max(busy_s, work.kernels * hardware.launch_us * MICRO)


def _products_s(work: Work, peak_tflops: float, hardware: Hardware) -> float:
    """Return the seconds of the matrix products: a narrow one waits for its matrices."""
    flops_s = peak_tflops * TERA * hardware.matmul_share
    bytes_s = hardware.memory_gb_s * GIGA * hardware.memory_share
    return sum(
        calls * max(flops / flops_s, size_bytes / bytes_s)
        for (flops, size_bytes), calls in work.products.items()
    )


def transfer_s(transfer: Transfer, hardware: Hardware) -> float:
    """Return the seconds of a step's, or a microbatch's, calls of a transfer, in a ring.

    A ring that leaves the node passes through the network ports of all its members there.
    """
    ranks = len(transfer.ranks)
    nodes = {rank // hardware.gpus_per_node for rank in transfer.ranks}
    gb_s = hardware.link_gb_s
    if len(nodes) > 1:
        gb_s = min(gb_s, hardware.network_gb_s * ranks / len(nodes))
    times = _TIMES_SENT.get(transfer.kind, 1.0)
    if transfer.group != "pipeline":
        # In a ring every rank keeps one of the parts.
        times *= (ranks - 1) / ranks
    each_s = times * transfer.size_bytes / (gb_s * GIGA * hardware.link_share)
    return transfer.calls * (each_s + hardware.latency_us * MICRO)
