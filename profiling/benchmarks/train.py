"""Training speed beside Hugging Face's Trainer and a plain torch loop, in one run: `make bench`.

    python profiling/benchmarks/train.py [--data data/bach] [--rounds 3] [-o FILE.md]
    python profiling/benchmarks/train.py --recipe article --precision bf16 model.seq_length=1024

Without --recipe: `tiny` on a CPU, `article` and `profile-medium` on a GPU.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import torch
from harness import Cost, Machine, attempt, describe, load_average, noise
from rich.console import Console
from train_timed import WARMUP

from megatron_music.config import Recipe, load_recipe
from megatron_music.costs.devices import dense_peak
from megatron_music.costs.flops import Shape, model_causal, recipe_shape
from megatron_music.errors import MusicError
from megatron_music.files import write_text
from megatron_music.omp import set_omp_wait_policy
from megatron_music.tokenizer.vocabulary import load_vocabulary
from megatron_music.train.backends import Device, cpu, gpu
from megatron_music.wording import markdown_table

PACKAGES = ("torch", "megatron-core", "transformers", "accelerate", "transformer-engine")

PEERS_ALIKE = ("model.structural_inputs=[]", "train.optimizer=adam")
"""What the plain loops train is plain GPT-2 with Adam."""


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

ENGINE = "megatron_music"
COMPILED = "plain torch, compiled"
WAYS = {
    ENGINE: ("engine",),
    "Hugging Face's Trainer": ("trainer",),
    "plain torch": ("plain",),
    COMPILED: ("plain", "--compile"),
}


@dataclass
class Case:
    """A recipe over a data set's vocabulary; `costs` by way and precision, the best of the rounds.

    A cost has `step_s`, the median seconds of an iteration, and the last `loss`; `missing` alone
    where a way could not be gone.
    """

    name: str
    recipe: Recipe
    shape: Shape
    costs: dict[tuple[str, str], Cost] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Tokens an iteration."""
        return self.shape.global_batch_size * self.shape.seq_length

    def take(self, way: str, precision: str, cost: Cost) -> None:
        """Keep the cost if it is the best so far."""
        best = self.costs.get((way, precision), {})
        if cost.get("step_s", 1e9) <= best.get("step_s", 1e9):
            self.costs[way, precision] = cost

    def rate(self, way: str, precision: str) -> float:
        """Return tokens a second, 0 where it was not measured."""
        cost = self.costs.get((way, precision), {})
        return self.tokens / cost["step_s"] if "step_s" in cost else 0.0

    def best_peer(self, precision: str) -> float:
        """Return the tokens a second of the fastest of the others."""
        return max(self.rate(way, precision) for way in WAYS if way != ENGINE)


def main() -> None:
    arguments = _arguments()
    set_omp_wait_policy()  # all of them alike
    console = Console(stderr=True)
    device = _device()
    precisions = arguments.precision or [
        precision
        for precision in (("bf16",) if device.is_cuda else ("fp32", "bf16"))
        if precision in device.precisions
    ]
    recipes = arguments.recipe or (["article", "profile-medium"] if device.is_cuda else ["tiny"])
    try:
        cases = [_case(name, arguments) for name in recipes]
    except MusicError as fault:
        sys.exit(f"error: {fault}")
    cores = sorted(os.sched_getaffinity(0))
    threads = arguments.threads or len(cores)
    machine = describe(PACKAGES, gpu=device.name if device.is_cuda else "")
    page = ""
    for turn, case, precision, way in _in_order(arguments.rounds, cases, precisions):
        cost = _measure(way, precision, case, arguments, threads)
        case.take(way, precision, cost)
        told = cost.get("missing") or f"{cost['step_s'] * 1e3:,.1f} ms a step"
        console.print(f"{case.name} {precision} {way}: {told}", highlight=False)
        measured, rounds = [case for case in cases if case.costs], f"{turn} of {arguments.rounds}"
        page = markdown(measured, machine, threads, load_average(), rounds, sys.argv[1:])
        if (
            arguments.output
        ):  # after each way, so that a benchmark that is stopped keeps its figures
            write_text(arguments.output, page)
    print(page)
    if arguments.output:
        console.print(f"written to {arguments.output}")


def _in_order(
    rounds: int, cases: list[Case], precisions: list[str]
) -> Iterator[tuple[int, Case, str, str]]:
    """Yield round, case, precision and way; every other round backwards: none is always first."""
    for turn in range(rounds):
        ways = list(WAYS)[:: -1 if turn % 2 else 1]
        for case, precision, way in product(cases, precisions, ways):
            yield turn + 1, case, precision, way


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", action="append", help="what to train, else by the device")
    parser.add_argument("--data", type=Path, default=Path("data/bach"), help="a data set folder")
    parser.add_argument("--precision", action="append", help="fp32 or bf16, else what there is")
    parser.add_argument("--rounds", type=int, default=3, help="the best of so many counts")
    parser.add_argument("--iterations", type=int, default=20, help="measured ones of each process")
    parser.add_argument("--threads", type=int, help="of each process, else one a core")
    parser.add_argument("-o", "--output", type=Path, help="write the page there too")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as in train.lr=1e-3")
    arguments = parser.parse_args()
    arguments.overrides = [*PEERS_ALIKE, *arguments.overrides]
    return arguments


def _device() -> Device:
    if not torch.cuda.is_available():
        return cpu()
    return gpu(torch.cuda.get_device_name(), torch.cuda.get_device_capability())


def _case(name: str, arguments: argparse.Namespace) -> Case:
    recipe = load_recipe(name, arguments.overrides)
    vocabulary = load_vocabulary(arguments.data / "tokenizer")
    return Case(name, recipe, recipe_shape(recipe, len(vocabulary)))


def _measure(
    way: str, precision: str, case: Case, arguments: argparse.Namespace, threads: int
) -> Cost:
    if way == COMPILED and not torch.cuda.is_available() and not shutil.which("g++"):
        return {"missing": "no C++ compiler here"}
    words = [*arguments.overrides, f"train.precision={precision}"]
    words.append(f"train.train_iters={WARMUP + arguments.iterations}")
    cores = tuple(os.sched_getaffinity(0))
    cost = attempt(
        "train_timed.py",
        *WAYS[way],
        case.name,
        str(arguments.data),
        *words,
        cores=cores,
        threads=threads,
    )
    if "missing" in cost and way == ENGINE:
        sys.exit(f"error: {cost['missing']}")
    return cost


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
        markdown_table(columns, rows(case, gpu, precisions)),
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


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted; what was measured is in the page of -o")
