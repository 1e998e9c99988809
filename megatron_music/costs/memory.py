"""Estimate the memory of one GPU in training, by part.

Weights, gradients and optimizer state are counted to the byte as this engine lays them out: 16-bit
weights, fp32 gradients, fp32 copies of the weights and Adam's two moments. Activations follow
Table 2 of arXiv 2205.05198, as Megatron's `theoretical_memory_usage.py` does, with what these
models do not have left out: attention scores, which the fused attention kernels never store, and
dropout masks where there is no dropout. Not counted: CUDA's context and NCCL's buffers (about
1 GiB), workspaces, and memory lost between blocks.
"""

from dataclasses import dataclass

from megatron_music.config import ModelConfig, Recipe
from megatron_music.costs.flops import padded_vocab_size
from megatron_music.costs.layout import splits_sequence

FP32_BYTES = 4
TOKEN_BYTES = 8
MASK_BYTES = 1
MOMENTS = 2
"""The moments of Adam, each in fp32."""


@dataclass(frozen=True)
class Memory:
    """What the fullest GPU holds, in bytes; `stage` is its pipeline stage, counted from 0."""

    stage: int
    parameters: int
    weights: float
    gradients: float
    optimizer: float
    activations: float

    @property
    def total(self) -> float:
        """All parts together."""
        return self.weights + self.gradients + self.optimizer + self.activations


def parameter_count(
    shape: ModelConfig, vocabulary_size: int, position_rows: int | None = None
) -> int:
    """Return the parameters of the whole model, the tied head counted once.

    `position_rows` are the rows of its position table, None for GPT-2's own `seq_length`.
    """
    return stage_parameters(shape, vocabulary_size, 1, 1, 0, position_rows)


def stage_parameters(
    shape: ModelConfig,
    vocabulary_size: int,
    tensor: int,
    pipeline: int,
    stage: int,
    position_rows: int | None = None,
) -> int:
    """Return the parameters of one tensor parallel rank of a pipeline stage.

    The last of several stages holds a second copy of the tied embedding.
    """
    width = shape.hidden_size
    # Split: the four matrices, and the biases of qkv and fc1. Whole: two norms, two biases.
    split, whole = 12 * width**2 + 7 * width, 6 * width  # of a layer: over TP ranks, on each
    count = shape.num_layers // pipeline * (split // tensor + whole)
    embedding = padded_vocab_size(vocabulary_size) // tensor * width
    if stage == 0:
        count += embedding + (position_rows or shape.seq_length) * width
    if stage == pipeline - 1:
        # The head is tied to an embedding on another stage: Megatron keeps a copy and sums
        # gradients.
        count += 2 * width + (embedding if pipeline > 1 else 0)
    return count


def estimate_memory(
    recipe: Recipe,
    vocabulary_size: int,
    data_parallel_size: int,
    position_rows: int | None = None,
) -> Memory:
    """Return what the fullest GPU of a layout holds; the recipe's precision is fp32, bf16 or fp16.

    The layout is one that `check_layout` accepts; `position_rows` is as in `parameter_count`.
    """
    parallel, stages = recipe.parallel, []
    tensor, pipeline = parallel.tensor_model_parallel_size, parallel.pipeline_model_parallel_size
    # In 16 bits the optimizer keeps an fp32 copy of the weights as well.
    state = FP32_BYTES * (MOMENTS if recipe.train.precision == "fp32" else MOMENTS + 1)
    shards = data_parallel_size if parallel.use_distributed_optimizer else 1
    for stage in range(pipeline):
        count = stage_parameters(
            recipe.model, vocabulary_size, tensor, pipeline, stage, position_rows
        )
        memory = Memory(
            stage=stage,
            parameters=count,
            weights=_value_bytes(recipe) * count,
            gradients=FP32_BYTES * count,
            optimizer=state * count / shards,
            activations=_activations(recipe, vocabulary_size, data_parallel_size, stage),
        )
        stages.append(memory)
    return max(stages, key=lambda memory: memory.total)


def _activations(recipe: Recipe, vocabulary_size: int, data: int, stage: int) -> float:
    """Return the bytes kept for the backward pass by the microbatches in flight on a stage."""
    parallel, train = recipe.parallel, recipe.train
    tensor, pipeline = parallel.tensor_model_parallel_size, parallel.pipeline_model_parallel_size
    shared = tensor if splits_sequence(recipe) else 1
    microbatches = train.global_batch_size // (train.micro_batch_size * data)
    # One forward, one backward: the first stage runs ahead by as many microbatches as stages
    # follow.
    in_flight = min(pipeline - stage, microbatches)
    layers = recipe.model.num_layers // pipeline
    tokens = train.micro_batch_size * recipe.model.seq_length
    wide = tokens * recipe.model.hidden_size
    value = _value_bytes(recipe)
    mask = MASK_BYTES if recipe.model.hidden_dropout else 0
    layer = layer_activations(recipe)
    kept = in_flight * layers * (wide * value / shared if train.recompute == "full" else layer)
    ends = 0.0
    if stage == 0:
        kept += in_flight * (TOKEN_BYTES * tokens + mask * wide / shared)
    if stage == pipeline - 1:  # the last norm's input and output; the logits in fp32
        logits = tokens * padded_vocab_size(vocabulary_size) / tensor
        ends = 2 * value * wide / shared + FP32_BYTES * logits
    if train.recompute == "full":  # the logits are gone when the first layer is repeated, whole
        return kept + max(ends, layer)
    return kept + ends


def layer_activations(recipe: Recipe) -> float:
    """Return the bytes that a layer keeps of one microbatch, on one tensor parallel rank.

    In values of the precision, times tokens and width: 4 for the inputs of norms, qkv and fc1,
    whole on each rank unless sequence parallel, and 3 for q, k and v, 1 for proj's input, 4 and 4
    for GELU's input and output, over the ranks. Selective recomputation repeats attention alone,
    whose scores the fused kernels do not keep in the first place: it saves nothing here.
    """
    parallel, train, value = recipe.parallel, recipe.train, _value_bytes(recipe)
    tensor = parallel.tensor_model_parallel_size
    shared = tensor if splits_sequence(recipe) else 1
    masks = 2 * MASK_BYTES if recipe.model.hidden_dropout else 0
    wide = train.micro_batch_size * recipe.model.seq_length * recipe.model.hidden_size
    return wide * ((4 * value + masks) / shared + 12 * value / tensor)


def _value_bytes(recipe: Recipe) -> int:
    return FP32_BYTES if recipe.train.precision == "fp32" else FP32_BYTES // 2
