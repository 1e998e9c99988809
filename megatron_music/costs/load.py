"""What one rank does in a training step, as a rehearsal counts it: plain figures, no torch."""

from dataclasses import dataclass, field
from typing import Literal

Phase = Literal["forward", "backward", "step"]
"""`forward` and `backward` are the passes of a microbatch; `step` is what is done once a step."""


Agreed = tuple[str, str, str, tuple[int, ...], float]
"""Kind, group, dtype and shape of a transfer, and how often it is called."""


@dataclass
class Work:
    """What a rank computes in a phase.

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
        """Return the work of one of so many equal passes."""
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
        """What ranks that meet in it have to have in common."""
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
