"""`train RECIPE --rehearse`: a layout's memory, traffic and time, before any GPU is used."""

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
    from megatron_music.train.blend import Blend
    from megatron_music.train.rehearsal.plan import Rehearsal

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
            blend = Blend.of(synthetic_data(Path(scratch), recipe.model.seq_length))
        with show.progress("rehearse", "ranks") as progress:
            found = rehearse_on(recipe, blend, device, gpus or least, assumptions, tell=progress)
    if as_json:
        print(json.dumps(_figures(found)))
        return
    print(
        "\n".join([*_layout(found), "", *_memory(found), "", *_traffic(found), "", *_time(found)])
    )


def _layout(found: "Rehearsal") -> list[str]:
    parallel, train = found.recipe.parallel, found.recipe.train
    return [
        f"{found.world_size} x {found.device}: TP={parallel.tensor_model_parallel_size} "
        f"PP={parallel.pipeline_model_parallel_size} DP={found.data_parallel_size}, "
        f"{found.microbatches} micro batches of {train.micro_batch_size}, {train.precision}, "
        f"recompute {train.recompute}",
        f"{len(found.loads)} distinct ranks built and stepped; what they send one another agrees",
    ]


def _memory(found: "Rehearsal") -> list[str]:
    head = f"{'rank':>6} {'stage':>6} {'data':>6}" + "".join(f"{part:>13}" for part in PARTS)
    lines = [f"{head}{'peak':>10}   GiB"]
    for load in found.loads:
        sizes = "".join(f"{getattr(load.memory, part) / GIB:>13.2f}" for part in PARTS)
        place = f"{load.rank:>6} {load.stage:>6} {load.data_rank:>6}"
        lines.append(f"{place}{sizes}{load.memory.total / GIB:>10.2f}")
    return lines


def _traffic(found: "Rehearsal") -> list[str]:
    """Tell each kind of transfer of the rank that has most of it."""
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


def _time(found: "Rehearsal") -> list[str]:
    time = found.time
    parts = {
        "compute": time.compute_s,
        "exposed tensor parallel": time.tensor_s,
        "exposed pipeline": time.pipeline_s,
        "exposed data parallel": time.data_s,
        "bubble": time.bubble_s,
    }
    shown = ", ".join(f"{name} {part / time.step_s:.1%}" for name, part in parts.items())
    from megatron_music.train.rehearsal.world import STAND_INS

    assumed = ", ".join(f"{name}={value:g}" for name, value in asdict(found.hardware).items())
    return [
        f"an estimated step: {time.step_s:.4g} s: {shown}",
        f"{time.tokens_per_s:,.0f} tokens/s, {time.utilisation:.1%} of {found.peak_tflops:g} "
        "TFLOP/s a GPU (model_causal)",
        f"assumed: {assumed} (--assume NAME=VALUE)",
        *(f"stood in for: {part}" for part in STAND_INS),
    ]


def _figures(found: "Rehearsal") -> dict[str, Any]:
    from megatron_music.train.rehearsal.world import STAND_INS

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
