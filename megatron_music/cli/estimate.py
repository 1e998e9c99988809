"""`train RECIPE --estimate`: what a run will cost, shown before any GPU is used."""

import json
from typing import TYPE_CHECKING, Any

from megatron_music.errors import UsageError

if TYPE_CHECKING:
    from megatron_music.config import Recipe
    from megatron_music.costs.estimate import Estimate
    from megatron_music.train.blend import Blend

MIB, GIB = 1 << 20, 1 << 30


def show_estimate(
    recipe: "Recipe",
    blend: "Blend | None",
    device: str | None,
    processes: int | None,
    utilisation: float | None,
    as_json: bool,
) -> None:
    """Print what a recipe will cost, over the data's vocabulary or the default one."""
    from megatron_music.costs.estimate import UTILISATION, estimate
    from megatron_music.tokenizer.structure import position_rows
    from megatron_music.tokenizer.vocabulary import TokenizerSettings, vocabulary_of
    from megatron_music.train.blend import common_vocabulary

    share = UTILISATION if utilisation is None else utilisation
    if not 0 < share <= 1:
        raise UsageError(f"--utilisation must be in (0, 1] (got {share}); 0.35 is usual")
    if utilisation is not None and device is None:
        raise UsageError("--utilisation only with --device NAME; add it, or leave that out")
    if processes is not None and processes < 1:
        raise UsageError(f"--gpus must be 1 or more (got {processes})")
    parallel = recipe.parallel
    least = parallel.tensor_model_parallel_size * parallel.pipeline_model_parallel_size
    vocabulary = common_vocabulary(blend) if blend else vocabulary_of(TokenizerSettings())
    shape = recipe.model
    rows = position_rows(shape.structural_inputs, shape.seq_length, vocabulary)
    gpus = processes or least
    made = estimate(recipe, len(vocabulary), gpus, device, share, rows.total)
    epochs = blend.epochs(made.tokens, vocabulary) if blend else {}
    if as_json:
        print(json.dumps(_figures(made, epochs)))
        return
    for name, value in _rows(made, epochs):
        print(f"{name:<22}{value}")


def _rows(made: "Estimate", epochs: dict[str, float]) -> list[tuple[str, str]]:
    memory, train = made.memory, made.recipe.train
    parallel = made.recipe.parallel
    layout = (
        f"{made.processes} GPU(s): TP={parallel.tensor_model_parallel_size} "
        f"PP={parallel.pipeline_model_parallel_size} DP={made.data_parallel_size}"
    )
    batch = (
        f"{train.global_batch_size} sequences of {made.recipe.model.seq_length:,} tokens, "
        f"{train.micro_batch_size} at a time on a GPU"
    )
    parts = ("weights", "gradients", "optimizer", "activations")
    rows = [
        ("parameters", f"{made.parameters / 1e6:,.2f} M, vocabulary {made.vocabulary_size}"),
        ("layout", layout),
        ("batch", batch),
        ("precision", f"{train.precision}, recompute {train.recompute}"),
        ("memory of a GPU", f"{_size(memory.total)} on pipeline stage {memory.stage}, the fullest"),
        *((f"  {part}", _size(getattr(memory, part))) for part in parts),
        ("", "CUDA's context and NCCL's buffers are not counted: about 1 GiB"),
        ("FLOPs an iteration", f"{made.flops_per_iteration:.3e} (model_causal)"),
        ("FLOPs in all", f"{made.flops:.3e}, {train.train_iters:,} iterations"),
        ("tokens in all", f"{made.tokens:,}"),
        ("epochs", _epochs(epochs)),
    ]
    return [*rows, *_on_device(made)]


def _epochs(epochs: dict[str, float]) -> str:
    if not epochs:
        return "give --data DIR to count them"
    return ", ".join(f"{count:,.1f} of {folder}" for folder, count in epochs.items())


def _on_device(made: "Estimate") -> list[tuple[str, str]]:
    placed = made.on_device
    if placed is None:
        hint = "give --device NAME, as in --device 'NVIDIA H200' (nvidia-smi -L prints it)"
        return [("time", f"{hint}, and --gpus N")]
    room = {True: "fits", False: "does NOT fit", None: "its memory is not known"}[placed.fits]
    assumed = f"assuming {placed.utilisation:.0%} of {placed.peak_tflops:g} TFLOP/s a GPU"
    time = f"{_duration(placed.days)}, {placed.tokens_per_s:,.0f} tokens/s, {assumed}"
    return [("device", f"{placed.device}: {room}"), ("time", f"{time} (--utilisation)")]


def _duration(days: float) -> str:
    """Say days, or the unit in which a shorter time has figures."""
    if days >= 1:
        return f"{days:,.2f} days"
    hours = days * 24
    return f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"


def _size(size: float) -> str:
    return f"{size / GIB:,.2f} GiB" if size >= GIB else f"{size / MIB:,.0f} MiB"


def _figures(made: "Estimate", epochs: dict[str, float]) -> dict[str, Any]:
    memory, placed = made.memory, made.on_device
    return {
        "parameters": made.parameters,
        "vocabulary_size": made.vocabulary_size,
        "processes": made.processes,
        "data_parallel_size": made.data_parallel_size,
        "precision": made.recipe.train.precision,
        "memory_bytes": {**vars(memory), "total": memory.total},
        "flops_per_iteration": made.flops_per_iteration,
        "flops": made.flops,
        "tokens": made.tokens,
        "epochs": epochs,
        "formula": "model_causal",
        "on_device": vars(placed) if placed else None,
    }
