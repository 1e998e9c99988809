"""`train RECIPE --estimate`: parameters, memory, FLOPs and days of a run, without a GPU."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from megatron_music.cli import show
from megatron_music.errors import UsageError

if TYPE_CHECKING:
    from megatron_music.config import Recipe
    from megatron_music.costs.estimate import Estimate
    from megatron_music.train.blend import Blend
    from megatron_music.train.rehearsal.plan import Rehearsal
    from megatron_music.train.request import TrainingRequest

MIB, GIB = 1 << 20, 1 << 30


def show_estimate(
    recipe: "Recipe",
    blend: "Blend | None",
    device: str | None,
    processes: int | None,
    utilisation: float | None,
    as_json: bool,
) -> None:
    """Print the costs of a recipe, with the data's vocabulary or the default one."""
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
    # The fewest that can hold the layout, unless a number is given.
    gpus = processes or least
    made = estimate(recipe, len(vocabulary), gpus, device, share, rows.total)
    epochs = blend.epochs(made.tokens, vocabulary) if blend else {}
    if as_json:
        figures = {
            "parameters": made.parameters,
            "vocabulary_size": made.vocabulary_size,
            "processes": made.processes,
            "data_parallel_size": made.data_parallel_size,
            "precision": made.recipe.train.precision,
            "memory_bytes": {**vars(made.memory), "total": made.memory.total},
            "flops_per_iteration": made.flops_per_iteration,
            "flops": made.flops,
            "tokens": made.tokens,
            "epochs": epochs,
            "formula": "model_causal",
            "on_device": made.on_device,
        }
        print(json.dumps(figures))
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
    seen = ", ".join(f"{count:,.1f} of {folder}" for folder, count in epochs.items())
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
        ("epochs", seen or "give --data DIR to count them"),
    ]
    placed = made.on_device
    if placed is None:
        hint = "give --device NAME, as in --device 'NVIDIA H200' (nvidia-smi -L prints it)"
        return [*rows, ("time", f"{hint}, and --gpus N")]
    room = {True: "fits", False: "does NOT fit", None: "its memory is not known"}[placed["fits"]]
    assumed = f"assuming {placed['utilisation']:.0%} of {placed['peak_tflops']:g} TFLOP/s a GPU"
    units = {"days": 1, "hours": 24, "minutes": 24 * 60}
    unit = next((name for name, of_day in units.items() if placed["days"] * of_day >= 1), "minutes")
    decimals = 2 if unit == "days" else 1
    time = f"{placed['days'] * units[unit]:,.{decimals}f} {unit}"
    time += f", {placed['tokens_per_s']:,.0f} tokens/s, {assumed} (--utilisation)"
    return [*rows, ("device", f"{placed['device']}: {room}"), ("time", time)]


def _size(size: float) -> str:
    return f"{size / GIB:,.2f} GiB" if size >= GIB else f"{size / MIB:,.0f} MiB"


GIB, GB = 1 << 30, 1e9
PARTS = ("weights", "gradients", "optimizer", "activations")


def show_rehearsal(
    recipe: "Recipe",
    blend: "Blend | None",
    device: str | None,
    gpus: int | None,
    assumptions: list[str],
    as_json: bool,
) -> None:
    """Print what a rehearsal finds, over samples of the data or of random tokens."""
    from megatron_music.profiling.sweep.synthetic import synthetic_data
    from megatron_music.train.blend import Blend
    from megatron_music.train.rehearsal.plan import rehearse_on

    if device is None:
        raise UsageError("--rehearse needs --device NAME, as in --device 'NVIDIA H200'")
    if gpus is not None and gpus < 1:
        raise UsageError(f"--gpus must be 1 or more (got {gpus})")
    parallel = recipe.parallel
    least = parallel.tensor_model_parallel_size * parallel.pipeline_model_parallel_size
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # read when torch looks for GPUs: it needs none
    show.wait_for("torch and Megatron")
    with TemporaryDirectory(prefix="rehearsal-") as scratch:
        if blend is None:
            # What a step costs does not depend on the tokens.
            blend = Blend.of(synthetic_data(Path(scratch), recipe.model.seq_length))
        with show.progress("rehearse", "ranks") as progress:
            found = rehearse_on(
                recipe, blend, device, gpus or least, assumptions, progress=progress
            )
    if as_json:
        print(json.dumps(_rehearsal_figures(found)))
        return
    head = f"{'rank':>6} {'stage':>6} {'data':>6}" + "".join(f"{part:>13}" for part in PARTS)
    train = found.recipe.train
    lines = [
        f"{found.world_size} x {found.device}: TP={parallel.tensor_model_parallel_size} "
        f"PP={parallel.pipeline_model_parallel_size} DP={found.data_parallel_size}, "
        f"{found.microbatches} micro batches of {train.micro_batch_size}, {train.precision}, "
        f"recompute {train.recompute}",
        f"{len(found.loads)} distinct ranks built and stepped; what they send one another agrees",
        "",
        f"{head}{'peak':>10}   GiB",
    ]
    for load in found.loads:
        sizes = "".join(f"{getattr(load.memory, part) / GIB:>13.2f}" for part in PARTS)
        place = f"{load.rank:>6} {load.stage:>6} {load.data_rank:>6}"
        lines.append(f"{place}{sizes}{load.memory.total / GIB:>10.2f}")
    print("\n".join([*lines, "", *_traffic_lines(found), "", *_time_lines(found)]))


def _traffic_lines(found: "Rehearsal") -> list[str]:
    """Return the transfers by kind, each of the rank that has the most."""
    most: dict[tuple[str, str], tuple[float, float]] = {}
    for load in found.loads:
        sums: dict[tuple[str, str], tuple[float, float]] = {}
        for one in load.transfers:
            calls = found.calls(one)
            before = sums.get((one.group, one.kind), (0.0, 0.0))
            sums[one.group, one.kind] = (before[0] + calls * one.size_bytes, before[1] + calls)
        for key, value in sums.items():
            most[key] = max(most.get(key, value), value)
    lines = [f"{'group':>10} {'collective':>15} {'calls':>9} {'GB a step':>12}"]
    for (group, kind), (size_bytes, calls) in sorted(most.items()):
        lines.append(f"{group:>10} {kind:>15} {calls:>9,.0f} {size_bytes / GB:>12.3f}")
    return lines if most else ["nothing is sent"]


def _time_lines(found: "Rehearsal") -> list[str]:
    time = found.time
    parts = {
        "compute": time.compute_s,
        "exposed tensor parallel": time.tensor_s,
        "exposed pipeline": time.pipeline_s,
        "exposed data parallel": time.data_s,
        "bubble": time.bubble_s,
    }
    shown = ", ".join(f"{name} {part / time.step_s:.1%}" for name, part in parts.items())
    from megatron_music.train.rehearsal.fake_gpu import STAND_INS

    assumed = ", ".join(f"{name}={value:g}" for name, value in asdict(found.hardware).items())
    return [
        f"an estimated step: {time.step_s:.4g} s: {shown}",
        f"{time.tokens_per_s:,.0f} tokens/s, {time.utilisation:.1%} of {found.peak_tflops:g} "
        "TFLOP/s a GPU (model_causal)",
        f"assumed: {assumed} (--assume NAME=VALUE)",
        *(f"stood in for: {part}" for part in STAND_INS),
    ]


def _rehearsal_figures(found: "Rehearsal") -> dict[str, Any]:
    from megatron_music.train.rehearsal.fake_gpu import STAND_INS

    time = found.time
    return {
        "device": found.device,
        "processes": found.world_size,
        "data_parallel_size": found.data_parallel_size,
        "microbatches": found.microbatches,
        "precision": found.recipe.train.precision,
        "ranks": [
            {
                "rank": load.rank,
                "stage": load.stage,
                "data_rank": load.data_rank,
                "memory_bytes": asdict(load.memory) | {"total": load.memory.total},
                "work": {
                    phase: {
                        "matmul_flops": work.matmul_flops,
                        "attention_flops": work.attention_flops,
                        "moved_bytes": work.moved_bytes,
                        "kernels": work.kernels,
                    }
                    for phase, work in load.work.items()
                },
                "transfers": [
                    asdict(one) | {"calls_per_step": found.calls(one)} for one in load.transfers
                ],
            }
            for load in found.loads
        ],
        "step": asdict(time) | {"step_s": time.step_s, "communication_s": time.communication_s},
        "peak_tflops": found.peak_tflops,
        "formula": "model_causal",
        "assumed": asdict(found.hardware),
        "stood_in_for": list(STAND_INS),
    }


SMALLEST_RECIPE = "tiny"


def refuse_long_run(request: "TrainingRequest", recipe: str) -> None:
    """Raise UsageError where a job would take longer than a day without a GPU.

    The message has the time, and what would take about an hour. Batch systems start jobs on GPUs,
    which are not asked about: `--estimate` has their time.
    """
    from megatron_music.config import load_recipe
    from megatron_music.costs.estimate import DAY_S, HOUR_S, cpu_flops_per_s, cpu_iteration_s
    from megatron_music.nvidia import are_gpus_hidden, read_driver

    if not are_gpus_hidden() and read_driver().usable_gpus:
        return
    rate = cpu_flops_per_s()
    size = len(request.vocabulary)
    iteration_s = cpu_iteration_s(request.recipe, size, rate)
    left_s = iteration_s * (request.recipe.train.train_iters - request.start_iteration)
    if left_s <= DAY_S:
        return
    small = load_recipe(SMALLEST_RECIPE)
    small_s = cpu_iteration_s(small, size, rate)
    iterations = max(1, round(HOUR_S / small_s / 100) * 100)
    of_this = max(1, round(HOUR_S / iteration_s))
    raise UsageError(
        f"training {recipe} to {request.recipe.train.train_iters:,} iterations would take about "
        f"{left_s / DAY_S:,.0f} days on this machine, which has no usable GPU; for about an hour: "
        f"train {SMALLEST_RECIPE} train.train_iters={iterations} (its own "
        f"{small.train.train_iters:,} take {show.duration(small.train.train_iters * small_s)}), or "
        f"train.train_iters={request.start_iteration + of_this} here; --yes starts it all the same"
    )
