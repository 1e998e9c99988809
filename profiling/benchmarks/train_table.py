"""Measured ways to train as a page of Markdown."""

from collections.abc import Iterable

from machine import Machine, noise
from tables import table
from train_case import ENGINE, WARMUP, Case

from megatron_music.costs.flops import model_causal
from megatron_music.costs.peaks import dense_peak

DGX_2_TOKENS_PER_S = 517_227
"""What the article quotes for the model of the recipe `article` on a DGX-2, 16 V100."""

HEAD = """\
# Training: one run, the same model, batch, data and threads

{machine}. {threads} threads. Load average over the run's end: {load:.1f}{noisy}.

    python profiling/benchmarks/train.py {arguments}

Every way is a process of its own, one after another, {rounds} rounds; a step is the median of the
iterations after the first {warmup}, of the best round, loading the data included. The engine is
`megatron-music train`, the Trainer `launch/huggingface.py`: the same samples in the same order from
the same weights. Plain torch is a loop as nanoGPT's, on random windows of the same tokens. All have
fused AdamW, clipped gradients and torch's scaled dot product attention; in bf16 the engine is
Megatron's mixed precision, the others autocast. TFLOP/s are of the formula `model_causal`.
"""


def markdown(
    cases: Iterable[Case],
    machine: Machine,
    threads: int,
    load: float,
    rounds: str,
    arguments: list[str],
) -> str:
    head = HEAD.format(
        machine=machine.text,
        threads=threads,
        load=load,
        noisy=noise(load, threads),
        arguments=" ".join(arguments),
        rounds=rounds,
        warmup=WARMUP,
    )
    return "\n".join([head, *(section(case, machine.gpu) for case in cases)])


def section(case: Case, gpu: str) -> str:
    shape, heads = case.recipe.model, case.recipe.model.num_attention_heads
    precisions = list(dict.fromkeys(precision for _, precision in case.costs))
    others = [f"against the best {precision} of the others" for precision in precisions]
    columns = ("", "precision", "ms a step", "tokens/s", *others, "TFLOP/s", "of the peak", "loss")
    parts = [
        f"## {case.name}",
        f"{shape.num_layers} layers x {heads} heads x {shape.hidden_size}, sequence "
        f"{shape.seq_length}, batch {case.shape.global_batch_size} of "
        f"{case.recipe.train.micro_batch_size} at a time.",
        table(columns, rows(case, gpu, precisions)),
    ]
    if case.name == "article":
        parts.append(_dgx_2(case, precisions))
    return "\n\n".join(parts) + "\n"


def rows(case: Case, gpu: str, precisions: list[str]) -> Iterable[tuple[object, ...]]:
    for (way, precision), cost in case.costs.items():
        name = f"**{way}**" if way == ENGINE else way
        if "missing" in cost:
            yield name, precision, cost["missing"], *[""] * (len(precisions) + 4)
            continue
        rate = case.rate(way, precision)
        peers = [case.best_peer(other) for other in precisions]
        ratios = [f"{rate / peer:.2f}" if peer else "" for peer in peers]
        tflops = model_causal(case.shape) / cost["step_s"] / 1e12
        peak = dense_peak(gpu, precision) if gpu else None
        share = f"{tflops / peak.tflops:.1%}" if peak else ""
        yield (
            name, precision, f"{cost['step_s'] * 1e3:,.1f}", f"{rate:,.0f}", *ratios,
            f"{tflops:.3g}", share, f"{cost['loss']:.3f}",
        )  # fmt: skip


def _dgx_2(case: Case, precisions: list[str]) -> str:
    rate = max(case.rate(ENGINE, precision) for precision in precisions)
    return (
        f"A DGX-2 (16 V100) is quoted with up to {DGX_2_TOKENS_PER_S:,} tokens/s: the engine here "
        f"trains {rate / DGX_2_TOKENS_PER_S:.2f} times as fast. How that was measured is not known."
    )
