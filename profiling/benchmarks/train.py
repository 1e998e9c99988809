"""Training speed beside Hugging Face's Trainer and a plain torch loop, in one run: `make bench`.

    python profiling/benchmarks/train.py [--data data/bach] [--rounds 3] [-o FILE.md]
    python profiling/benchmarks/train.py --recipe article --precision bf16 model.seq_length=1024

Without --recipe: `tiny` on a CPU, `article` and `profile-medium` on a GPU. `train.py --measure WAY
RECIPE DATA [key=value]...` is one measurement, in a process of its own: `engine` and `trainer` as a
person runs them, by their log; `plain` and `compiled` are the loop of this file. It prints JSON.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import torch
from harness import Cost, attempt, describe, load_average
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own habit

from megatron_music.config import ModelConfig, Recipe, TrainConfig, load_recipe
from megatron_music.costs.devices import dense_peak
from megatron_music.costs.flops import model_causal, padded_vocab_size, recipe_shape
from megatron_music.errors import MusicError
from megatron_music.files import write_text
from megatron_music.formatting import markdown_table
from megatron_music.omp import set_omp_wait_policy
from megatron_music.profiling.sweep.spec import QUIET
from megatron_music.tokenizer.vocabulary import load_vocabulary, token_dtype
from megatron_music.train.backends import cpu, gpu
from megatron_music.train.hyperparameters import ADAM_BETAS, INIT_STD, learning_rate

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "megatron-core", "transformers", "accelerate", "transformer-engine")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

PEERS_ALIKE = ("model.structural_inputs=[]", "train.optimizer=adam")
"""What the plain loops train is plain GPT-2 with Adam."""

WARMUP = 5
"""Iterations before those that count."""

DGX_2_TOKENS_PER_S = 517_227
"""What the article quotes for the model of the recipe `article` on a DGX-2, 16 V100."""

WAYS = {
    "engine": "**megatron_music**",
    "trainer": "Hugging Face's Trainer",
    "plain": "plain torch",
    "compiled": "plain torch, compiled",
}
PROGRAMS = {
    "engine": ["-m", "megatron_music", "train"],
    "trainer": [str(ROOT / "launch" / "huggingface.py")],
}

HEAD = """\
# Training: one run, the same model, batch, data and threads

{machine}. {threads} threads. Load average over the run's end: {load}.

    python profiling/benchmarks/train.py {arguments}

Every way is a process of its own, one after another, {rounds} rounds; a step is the median of the
iterations after the first {warmup}, of the best round, loading the data included. The engine is
`megatron-music train`, the Trainer `launch/huggingface.py`: the same samples in the same order from
the same weights. Plain torch is a loop as nanoGPT's, on random windows of the same tokens. All have
fused AdamW, clipped gradients and torch's scaled dot product attention; in bf16 the engine is
Megatron's mixed precision, the others autocast. TFLOP/s are of the formula `model_causal`.
"""


@dataclass
class Case:
    """A recipe over a data set's vocabulary, and the best cost of each (way, precision) so far."""

    name: str
    recipe: Recipe
    vocabulary_size: int
    costs: dict[tuple[str, str], Cost] = field(default_factory=dict)

    def take(self, way: str, precision: str, cost: Cost) -> None:
        """Keep a cost (`step_s`, `loss`, or `missing` alone) if it is the best so far."""
        best = self.costs.get((way, precision), {})
        if cost.get("step_s", 1e9) <= best.get("step_s", 1e9):
            self.costs[way, precision] = cost

    def rate(self, way: str, precision: str) -> float:
        """Return tokens a second, 0 where it was not measured."""
        tokens = self.recipe.train.global_batch_size * self.recipe.model.seq_length
        return tokens / self.costs.get((way, precision), {}).get("step_s", float("inf"))

    def section(self, gpu_name: str) -> str:
        """Write what was measured."""
        model, train = self.recipe.model, self.recipe.train
        precisions = list(dict.fromkeys(precision for _, precision in self.costs))
        flops, rows = model_causal(recipe_shape(self.recipe, self.vocabulary_size)), []
        for (way, precision), cost in self.costs.items():
            if "missing" in cost:
                rows.append([WAYS[way], precision, cost["missing"], *[""] * (len(precisions) + 4)])
                continue
            rate, tflops = self.rate(way, precision), flops / cost["step_s"] / 1e12
            peers = [max(self.rate(p, of) for p in WAYS if p != "engine") for of in precisions]
            peak = dense_peak(gpu_name, precision) if gpu_name else None
            rows.append([
                WAYS[way], precision, f"{cost['step_s'] * 1e3:,.1f}", f"{rate:,.0f}",
                *(f"{rate / peer:.2f}" if peer else "" for peer in peers), f"{tflops:.3g}",
                f"{tflops / peak.tflops:.1%}" if peak else "", f"{cost['loss']:.3f}",
            ])  # fmt: skip
        others = [f"against the best {precision} of the others" for precision in precisions]
        head = ["", "precision", "ms a step", "tokens/s", *others, "TFLOP/s", "of the peak", "loss"]
        parts = [
            f"## {self.name}",
            f"{model.num_layers} layers x {model.num_attention_heads} heads x {model.hidden_size}, "
            f"sequence {model.seq_length}, batch {train.global_batch_size} of "
            f"{train.micro_batch_size} at a time.",
            markdown_table(head, rows),
        ]
        if self.name == "article":
            best = max(self.rate("engine", precision) for precision in precisions)
            parts.append(
                f"A DGX-2 (16 V100) is quoted with up to {DGX_2_TOKENS_PER_S:,} tokens/s: the "
                f"engine here trains {best / DGX_2_TOKENS_PER_S:.2f} times as fast. How that was "
                "measured is not known."
            )
        return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", action="append", help="what to train, else by the device")
    parser.add_argument("--data", type=Path, default=Path("data/bach"), help="a data set folder")
    parser.add_argument("--precision", action="append", help="fp32 or bf16, else what there is")
    parser.add_argument("--rounds", type=int, default=3, help="the best of so many counts")
    parser.add_argument("--iterations", type=int, default=20, help="measured ones of each process")
    parser.add_argument("--threads", type=int, help="of each process, else one a core")
    parser.add_argument("-o", "--output", type=Path, help="write the page there too")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as in train.lr=1e-3")
    options = parser.parse_args()
    set_omp_wait_policy()  # all of them alike
    device, recipes, precisions = cpu(), ["tiny"], ["fp32", "bf16"]
    if DEVICE == "cuda":
        device = gpu(torch.cuda.get_device_name(), torch.cuda.get_device_capability())
        recipes, precisions = ["article", "profile-medium"], ["bf16"]
    overrides = [*PEERS_ALIKE, *options.overrides]
    try:
        size = len(load_vocabulary(options.data / "tokenizer"))
        cases = [Case(n, load_recipe(n, overrides), size) for n in options.recipe or recipes]
    except MusicError as fault:
        sys.exit(f"error: {fault}")
    precisions = options.precision or [one for one in precisions if one in device.precisions]
    threads = options.threads or len(os.sched_getaffinity(0))
    overrides.append(f"train.train_iters={WARMUP + options.iterations}")
    machine, page = describe(PACKAGES, gpu=device.name if device.is_cuda else ""), ""
    for turn, case, precision, way in _in_order(options.rounds, cases, precisions):
        words = [case.name, options.data, *overrides, f"train.precision={precision}"]
        cost = _measure(way, words, threads)
        case.take(way, precision, cost)
        told = cost.get("missing") or f"{cost['step_s'] * 1e3:,.1f} ms a step"
        print(f"{case.name} {precision} {way}: {told}", file=sys.stderr)
        head = HEAD.format(
            machine=machine.text,
            threads=threads,
            load=load_average(threads),
            arguments=" ".join(sys.argv[1:]),
            rounds=f"{turn} of {options.rounds}",
            warmup=WARMUP,
        )
        page = "\n".join([head, *(one.section(machine.gpu) for one in cases if one.costs)])
        if options.output:  # after each way: a benchmark that is stopped keeps its figures
            write_text(options.output, page)
    print(page)


def _in_order(
    rounds: int, cases: list[Case], precisions: list[str]
) -> Iterator[tuple[int, Case, str, str]]:
    """Yield round, case, precision and way; every other round backwards: none is always first."""
    for turn in range(rounds):
        ways = list(WAYS)[:: -1 if turn % 2 else 1]
        for case, precision, way in product(cases, precisions, ways):
            yield turn + 1, case, precision, way


def _measure(way: str, words: list[object], threads: int) -> Cost:
    if way == "compiled" and DEVICE == "cpu" and not shutil.which("g++"):
        return {"missing": "no C++ compiler here"}
    cores = tuple(os.sched_getaffinity(0))
    cost = attempt(__file__, "--measure", way, *words, cores=cores, threads=threads)
    if "missing" in cost and way == "engine":
        sys.exit(f"error: {cost['missing']}")
    return cost


def by_log(way: str, recipe: str, data: str, *overrides: str) -> Cost:
    """Train with one of our programs; its log says how long a step took and the last loss."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [*PROGRAMS[way], recipe, "--data", data, "--run", str(run), *overrides, *QUIET]
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(done.stderr.strip())
        lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    measured = [json.loads(line) for line in lines][WARMUP:]
    step_s = statistics.median(line["step_time_s"] for line in measured)
    return {"step_s": step_s, "loss": measured[-1]["lm_loss"]}


class Block(nn.Module):
    """Attention and a GELU network, each after a norm."""

    def __init__(self, shape: ModelConfig) -> None:
        super().__init__()
        width = shape.hidden_size
        self.heads, self.p = shape.num_attention_heads, shape.attention_dropout
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = nn.Dropout(shape.hidden_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Take and return [b, s, h]."""
        batch, tokens, width = x.shape
        parts = self.qkv(self.first(x)).split(width, dim=2)
        q, k, v = (part.view(batch, tokens, self.heads, -1).transpose(1, 2) for part in parts)
        dropout = self.p if self.training else 0.0
        context = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        x = x + self.drop(self.proj(context.transpose(1, 2).reshape(batch, tokens, width)))
        hidden = F.gelu(self.up(self.second(x)), approximate="tanh")
        return x + self.drop(self.down(hidden))


class PlainGpt(nn.Module):
    """GPT-2 with a tied head; returns the mean loss of a batch."""

    def __init__(self, shape: ModelConfig, size: int) -> None:
        super().__init__()
        self.words = nn.Embedding(size, shape.hidden_size)
        self.places = nn.Embedding(shape.seq_length, shape.hidden_size)
        self.drop = nn.Dropout(shape.hidden_dropout)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.num_layers))
        self.norm = nn.LayerNorm(shape.hidden_size)
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                residual = name.endswith(("proj.weight", "down.weight"))
                std = INIT_STD / (2 * shape.num_layers) ** 0.5 if residual else INIT_STD
                nn.init.normal_(weight, std=std)

    def forward(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """Take tokens and their successors, [b, s] each."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.drop(self.words(tokens) + self.places(positions))
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.words.weight)
        return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())


def windows(binary: Path, dtype: np.dtype, recipe: Recipe) -> Callable[[], tuple[Tensor, Tensor]]:
    """Return what draws a micro batch of tokens and of those that follow them."""
    tokens = np.memmap(binary, dtype, mode="r")
    length, generator = recipe.model.seq_length, np.random.default_rng(recipe.train.seed)

    def draw() -> tuple[Tensor, Tensor]:
        starts = generator.integers(len(tokens) - length, size=recipe.train.micro_batch_size)
        rows = np.stack([tokens[i : i + length + 1] for i in starts]).astype(np.int64)
        batch = torch.from_numpy(rows)
        if DEVICE == "cuda":
            batch = batch.pin_memory().to(DEVICE, non_blocking=True)
        return batch[:, :-1], batch[:, 1:]

    return draw


def plain(way: str, name: str, data: str, *overrides: str) -> Cost:
    """Train with the loop a person would write, as nanoGPT's train.py."""
    recipe, size = load_recipe(name, overrides), len(load_vocabulary(Path(data) / "tokenizer"))
    torch.manual_seed(recipe.train.seed)
    model: nn.Module = PlainGpt(recipe.model, padded_vocab_size(size)).to(DEVICE)
    if way == "compiled":
        model.compile()
    draw = windows(Path(data) / "train.bin", token_dtype(size), recipe)
    seconds, loss = train(model, draw, recipe.train)
    return {"step_s": statistics.median(seconds[WARMUP:]), "loss": loss}


def train(
    model: nn.Module, draw: Callable[[], tuple[Tensor, Tensor]], of: TrainConfig
) -> tuple[list[float], float]:
    """Train; return the seconds of each iteration, and the last loss."""
    weights = list(model.parameters())
    groups = [
        {"params": [w for w in weights if w.dim() > 1], "weight_decay": of.weight_decay},
        {"params": [w for w in weights if w.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=of.lr, betas=ADAM_BETAS, fused=True)
    accumulated = of.global_batch_size // of.micro_batch_size
    clip, seconds = of.clip_grad or float("inf"), []
    for iteration in range(1, of.train_iters + 1):
        begin = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(of, iteration)
        total = torch.zeros((), device=DEVICE)
        for _ in range(accumulated):
            with torch.autocast(DEVICE, torch.bfloat16, enabled=of.precision == "bf16"):
                loss = model(*draw())
            (loss / accumulated).backward()
            total += loss.detach()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad()
        mean = float(total) / accumulated  # waits for the GPU: its work counts
        seconds.append(time.perf_counter() - begin)
    return seconds, mean


if __name__ == "__main__":
    try:
        if sys.argv[1:2] == ["--measure"]:
            measured = by_log if sys.argv[2] in PROGRAMS else plain
            print(json.dumps(measured(*sys.argv[2:])))
        else:
            main()
    except KeyboardInterrupt:
        sys.exit("interrupted; what was measured is in the page of -o")
