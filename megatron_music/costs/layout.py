"""Check layouts over processes for a recipe, and find those nearest to one that cannot work."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from megatron_music.config import Recipe
from megatron_music.costs.flops import VOCABULARY_MULTIPLE
from megatron_music.errors import LayoutError

SHOWN = 3
"""The number of nearest layouts in a message."""


@dataclass(frozen=True)
class Layout:
    """A way to spread a recipe over processes; `data` is the data parallel size."""

    tensor: int
    pipeline: int
    data: int
    micro_batch_size: int

    @property
    def processes(self) -> int:
        """The number of processes."""
        return self.tensor * self.pipeline * self.data

    def __str__(self) -> str:
        """Describe the layout by the names of its options."""
        return (
            f"{self.processes} process(es) with TP={self.tensor} PP={self.pipeline} "
            f"micro batch {self.micro_batch_size} (DP={self.data})"
        )


def check_layout(recipe: Recipe, world_size: int) -> int:
    """Return the data parallel size of `world_size` processes, or raise LayoutError.

    Mirrors the conditions that Megatron's own start-up asserts: heads divide by TP, layers by PP,
    the world by TP x PP, the global batch by micro batch x DP, and for sequence parallel the
    sequence by a TP above 1. The error names the nearest layouts that can work.
    """
    fault = _fault(recipe, world_size)
    if fault:
        near = "; ".join(str(layout) for layout in nearest_layouts(recipe, world_size))
        raise LayoutError(f"{fault}; the nearest that can work: {near}")
    parallel = recipe.parallel
    return world_size // (
        parallel.tensor_model_parallel_size * parallel.pipeline_model_parallel_size
    )


def splits_sequence(recipe: Recipe) -> bool:
    """Tell whether a layout has sequence parallel, where its norms can do it.

    They can in Transformer Engine and Apex, as in the containers of docker/; the engine itself
    looks what there is.
    """
    tensor, asked = recipe.parallel.tensor_model_parallel_size, recipe.parallel.sequence_parallel
    if asked == "auto":
        return tensor > 1 and recipe.model.seq_length % tensor == 0
    return asked


def nearest_layouts(recipe: Recipe, world_size: int) -> list[Layout]:
    """Return up to three layouts that can hold a recipe, the nearest to its own first.

    As many processes as there are if that is possible, else fewer; then TP and PP, then the micro
    batch, each by how often it has to be halved or doubled. The global batch stays.
    """
    parallel = recipe.parallel

    def distance(layout: Layout) -> tuple[float, float]:
        """Return how far a layout is from the recipe's own."""
        split = _halvings(layout.tensor, parallel.tensor_model_parallel_size)
        split += _halvings(layout.pipeline, parallel.pipeline_model_parallel_size)
        return split, _halvings(layout.micro_batch_size, recipe.train.micro_batch_size)

    possible = list(_layouts(recipe, world_size))
    most = max((layout.processes for layout in possible), default=0)
    return sorted((one for one in possible if one.processes == most), key=distance)[:SHOWN]


def _layouts(recipe: Recipe, most_processes: int) -> Iterator[Layout]:
    """Yield every layout that takes at most this many processes."""
    shape, batch = recipe.model, recipe.train.global_batch_size
    # Tensor parallelism splits heads and the padded vocabulary: it has to divide both.
    for tensor in _divisors(math.gcd(shape.num_attention_heads, VOCABULARY_MULTIPLE)):
        if _sequence_fault(recipe, tensor):
            continue
        for pipeline in _divisors(shape.num_layers):
            for data in _divisors(batch):
                if tensor * pipeline * data <= most_processes:
                    wanted = recipe.train.micro_batch_size
                    micro = max(one for one in _divisors(batch // data) if one <= wanted)
                    yield Layout(tensor, pipeline, data, micro)


def _halvings(one: int, other: int) -> float:
    return abs(math.log2(one / other))


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


def _fault(recipe: Recipe, world_size: int) -> str | None:
    """Return why a recipe's own layout cannot work, None if it can."""
    tensor = recipe.parallel.tensor_model_parallel_size
    pipeline = recipe.parallel.pipeline_model_parallel_size
    heads, layers = recipe.model.num_attention_heads, recipe.model.num_layers
    if heads % tensor:
        return (
            f"parallel.tensor_model_parallel_size={tensor} does not divide "
            f"model.num_attention_heads={heads}"
        )
    if layers % pipeline:
        return (
            f"parallel.pipeline_model_parallel_size={pipeline} does not divide "
            f"model.num_layers={layers} (it divides model.num_layers={layers + -layers % pipeline})"
        )
    if world_size % (tensor * pipeline):
        return (
            f"{world_size} process(es) cannot hold TP={tensor} x PP={pipeline} (torchrun "
            f"--nproc-per-node starts more: a multiple of {tensor * pipeline})"
        )
    data = world_size // (tensor * pipeline)
    micro, batch = recipe.train.micro_batch_size, recipe.train.global_batch_size
    if batch % (micro * data):
        return (
            f"train.global_batch_size={batch} is not a multiple of train.micro_batch_size={micro} "
            f"x DP={data} (as {micro * data} is)"
        )
    return _sequence_fault(recipe, tensor)


def _sequence_fault(recipe: Recipe, tensor: int) -> str | None:
    if recipe.parallel.sequence_parallel is not True:
        return None
    if tensor == 1:
        return (
            "parallel.sequence_parallel=true needs parallel.tensor_model_parallel_size above 1 "
            "(got 1)"
        )
    if recipe.model.seq_length % tensor:
        return (
            f"parallel.sequence_parallel=true needs model.seq_length={recipe.model.seq_length} to "
            f"be a multiple of parallel.tensor_model_parallel_size={tensor}"
        )
    return None
