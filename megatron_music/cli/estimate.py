"""`train RECIPE --estimate`: what a run will cost, shown before any GPU is used."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megatron_music.errors import UsageError

if TYPE_CHECKING:
    from megatron_music.config import Recipe
    from megatron_music.costs.estimate import Estimate

GIB = 1 << 30


def show_estimate(
    recipe: "Recipe",
    data: Path | None,
    device: str | None,
    processes: int | None,
    utilisation: float | None,
    as_json: bool,
) -> None:
    """Print what a recipe will cost, over a data set's vocabulary or the default one."""
    from megatron_music.costs.estimate import UTILISATION, estimate
    from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary, load_vocabulary
    from megatron_music.train.job import token_count

    share = UTILISATION if utilisation is None else utilisation
    if not 0 < share <= 1:
        raise UsageError(f"--utilisation must be in (0, 1] (got {share}); 0.35 is usual")
    if processes is not None and processes < 1:
        raise UsageError(f"--gpus must be 1 or more (got {processes})")
    parallel = recipe.parallel
    least = parallel.tensor_model_parallel_size * parallel.pipeline_model_parallel_size
    vocabulary = load_vocabulary(data / "tokenizer") if data else Vocabulary(TokenizerSettings())
    made = estimate(recipe, len(vocabulary), processes or least, device, share)
    epoch = token_count(data / "train.bin", vocabulary) if data else None
    if as_json:
        print(json.dumps(_figures(made, epoch)))
        return
    for name, value in _rows(made, epoch):
        print(f"{name:<22}{value}")


def _rows(made: "Estimate", epoch: int | None) -> list[tuple[str, str]]:
    memory, train = made.memory, made.recipe.train
    parallel = made.recipe.parallel
    layout = (
        f"{made.processes} GPU(s): TP={parallel.tensor_model_parallel_size} "
        f"PP={parallel.pipeline_model_parallel_size} DP={made.data_parallel_size}, micro batch "
        f"{train.micro_batch_size} of {train.global_batch_size}"
    )
    epochs = f", {made.tokens / epoch:.1f} epochs" if epoch else ""
    parts = ("weights", "gradients", "optimizer", "activations")
    rows = [
        ("parameters", f"{made.parameters / 1e6:,.2f} M, vocabulary {made.vocabulary_size}"),
        ("layout", layout),
        ("precision", f"{train.precision}, recompute {train.recompute}"),
        ("memory of a GPU", f"{_gib(memory.total)} on pipeline stage {memory.stage}, the fullest"),
        *((f"  {part}", _gib(getattr(memory, part))) for part in parts),
        ("", "CUDA's context and NCCL's buffers are not counted: about 1 GiB"),
        ("FLOPs an iteration", f"{made.flops_per_iteration:.3e} (model_causal)"),
        ("FLOPs in all", f"{made.flops:.3e}, {train.train_iters:,} iterations"),
        ("tokens in all", f"{made.tokens:,}{epochs}"),
    ]
    return [*rows, *_on_device(made)]


def _on_device(made: "Estimate") -> list[tuple[str, str]]:
    placed = made.on_device
    if placed is None:
        return [("time", "give --device NAME, as nvidia-smi -L prints it")]
    room = {True: "fits", False: "does NOT fit", None: "its memory is not known"}[placed.fits]
    assumed = f"assuming {placed.utilisation:.0%} of {placed.peak_tflops:g} TFLOP/s a GPU"
    return [
        ("device", f"{placed.device}: {room}"),
        ("time", f"{placed.days:,.2f} days, {placed.tokens_per_s:,.0f} tokens/s, {assumed}"),
    ]


def _gib(size: float) -> str:
    return f"{size / GIB:,.2f} GiB"


def _figures(made: "Estimate", epoch: int | None) -> dict[str, Any]:
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
        "epochs": made.tokens / epoch if epoch else None,
        "formula": "model_causal",
        "on_device": vars(placed) if placed else None,
    }
