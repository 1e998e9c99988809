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
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import torch
from harness import Cost, attempt, head, run
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own habit

from megatron_music.config import ModelConfig, Recipe, TrainConfig, load_recipe
from megatron_music.costs.devices import dense_peak
from megatron_music.costs.flops import model_causal, padded_vocab_size, recipe_shape
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

NOTES = """
{threads} threads. Every way is a process of its own, one after another, {turn} of {rounds} rounds;
a step is the median of the iterations after the first {warmup}, of the best round, loading the data
included. The engine is `megatron-music train`, the Trainer `launch/huggingface.py`: the same
samples in the same order from the same weights. Plain torch is a loop as nanoGPT's, on random
windows of the same tokens. All have fused AdamW, clipped gradients and torch's scaled dot product
attention; in bf16 the engine is Megatron's mixed precision, the others autocast. TFLOP/s are of the
formula `model_causal`.
"""

Costs = dict[tuple[str, str], Cost]
"""The best cost (`step_s`, `loss`, or `missing` alone) of each (way, precision) so far."""


def take(costs: Costs, way: str, precision: str, cost: Cost) -> None:
    """Keep a cost if it is the best so far."""
    if cost.get("step_s", 1e9) <= costs.get((way, precision), {}).get("step_s", 1e9):
        costs[way, precision] = cost


def section(name: str, recipe: Recipe, vocabulary_size: int, costs: Costs, gpu_name: str) -> str:
    """Write what was measured of a recipe."""
    model, batch = recipe.model, recipe.train.global_batch_size
    precisions = list(dict.fromkeys(precision for _, precision in costs))
    flops, rows = model_causal(recipe_shape(recipe, vocabulary_size)), []
    rates = {
        key: batch * model.seq_length / cost["step_s"]
        for key, cost in costs.items()
        if "missing" not in cost
    }
    for (way, precision), cost in costs.items():
        if "missing" in cost:
            rows.append([WAYS[way], precision, cost["missing"], *[""] * (len(precisions) + 4)])
            continue
        rate, tflops = rates[way, precision], flops / cost["step_s"] / 1e12
        peers = [max([rates.get((p, of), 0) for p in WAYS if p != "engine"]) for of in precisions]
        peak = dense_peak(gpu_name, precision) if gpu_name else None
        rows.append([
            WAYS[way], precision, f"{cost['step_s'] * 1e3:,.1f}", f"{rate:,.0f}",
            *(f"{rate / peer:.2f}" if peer else "" for peer in peers), f"{tflops:.3g}",
            f"{tflops / peak.tflops:.1%}" if peak else "", f"{cost['loss']:.3f}",
        ])  # fmt: skip
    others = [f"against the best {precision} of the others" for precision in precisions]
    titles = ["", "precision", "ms a step", "tokens/s", *others, "TFLOP/s", "of the peak", "loss"]
    return (
        f"## {name}\n\n{model.num_layers} layers x {model.num_attention_heads} heads x "
        f"{model.hidden_size}, sequence {model.seq_length}, batch {batch} of "
        f"{recipe.train.micro_batch_size} at a time.\n\n{markdown_table(titles, rows)}\n"
    )


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
    device, names, precisions = cpu(), ["tiny"], ["fp32", "bf16"]
    if DEVICE == "cuda":
        device = gpu(torch.cuda.get_device_name(), torch.cuda.get_device_capability())
        names, precisions = ["article", "profile-medium"], ["bf16"]
    overrides = [*PEERS_ALIKE, *options.overrides]
    size = len(load_vocabulary(options.data / "tokenizer"))
    recipes = {name: load_recipe(name, overrides) for name in options.recipe or names}
    precisions = options.precision or [one for one in precisions if one in device.precisions]
    threads = options.threads or len(os.sched_getaffinity(0))
    overrides.append(f"train.train_iters={WARMUP + options.iterations}")
    gpu_name, page = device.name if device.is_cuda else "", ""
    best: dict[str, Costs] = {name: {} for name in recipes}
    for turn in range(options.rounds):
        ways = list(WAYS)[:: -1 if turn % 2 else 1]  # every other round backwards
        for name, precision, way in product(recipes, precisions, ways):
            words = [name, options.data, *overrides, f"train.precision={precision}"]
            cost = measure(way, words, threads)
            take(best[name], way, precision, cost)
            told = cost.get("missing") or f"{cost['step_s'] * 1e3:,.1f} ms a step"
            print(f"{name} {precision} {way}: {told}", file=sys.stderr)
            notes = NOTES.format(
                threads=threads, turn=turn + 1, rounds=options.rounds, warmup=WARMUP
            )
            title = "Training: one run, the same model, batch, data and threads"
            page = "\n".join(
                [head(title, PACKAGES, gpu_name, threads) + notes]
                + [section(n, recipes[n], size, of, gpu_name) for n, of in best.items() if of]
            )
            if options.output:  # after each way: a benchmark that is stopped keeps its figures
                write_text(options.output, page)
    print(page)


def measure(way: str, words: list[object], threads: int) -> Cost:
    """Train in a process of its own."""
    if way == "compiled" and DEVICE == "cpu" and not shutil.which("g++"):
        return {"missing": "no C++ compiler here"}
    cores = tuple(os.sched_getaffinity(0))
    cost = attempt(__file__, "--measure", way, way, *words, cores=cores, threads=threads)
    if "missing" in cost and way == "engine":
        sys.exit(f"error: {cost['missing']}")
    return cost


def by_log(way: str, recipe: str, data: str, *overrides: str) -> Cost:
    """Train with one of our programs; its log says how long a step took and the last loss."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        command = [*PROGRAMS[way], recipe, "--data", data, "--run", str(run_dir)]
        done = subprocess.run(
            [sys.executable, *command, *overrides, *QUIET],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            sys.exit(done.stderr.strip())
        lines = (run_dir / "log.jsonl").read_text(encoding="utf-8").splitlines()
    measured = [json.loads(line) for line in lines][WARMUP:]
    step_s = statistics.median(line["step_time_s"] for line in measured)
    return {"step_s": step_s, "loss": measured[-1]["lm_loss"]}


class Block(nn.Module):
    """Attention and a GELU network, each after a norm."""

    def __init__(self, shape: ModelConfig) -> None:
        super().__init__()
        width = shape.hidden_size
        self.heads, self.p = shape.num_attention_heads, shape.attention_dropout
        # In GPT-2's order.
        self.first, self.qkv = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.proj, self.second = nn.Linear(width, width), nn.LayerNorm(width)
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
    accumulated, seconds = of.global_batch_size // of.micro_batch_size, []
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
        nn.utils.clip_grad_norm_(model.parameters(), of.clip_grad or float("inf"))
        optimizer.step()
        optimizer.zero_grad()
        mean = float(total) / accumulated  # waits for the GPU: its work counts
        seconds.append(time.perf_counter() - begin)
    return seconds, mean


if __name__ == "__main__":
    run(main, {way: by_log if way in PROGRAMS else plain for way in WAYS})
