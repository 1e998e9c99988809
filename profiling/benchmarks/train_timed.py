"""One of the ways that `train.py` compares: `train_timed.py WAY RECIPE DATA [key=value]...`.

WAY is `engine` (megatron-music train) or `trainer` (launch/huggingface.py), as a person runs them:
the median step of their log after the warm-up, the loading of data included. Or it is `plain`, with
`--compile` under torch.compile: the loop a person would write, as nanoGPT's train.py. Pre-norm
blocks on scaled_dot_product_attention, a tied head, autocast, fused AdamW with its weight decay on
matrices alone, a cosine, clipped gradients, random windows of the memory-mapped tokens. Prints the
median seconds of an iteration and the last loss as JSON.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own habit

from megatron_music.config import ModelConfig, Recipe, TrainConfig, load_recipe
from megatron_music.costs.flops import padded_vocab_size
from megatron_music.profiling.sweep.spec import QUIET
from megatron_music.tokenizer.vocabulary import load_vocabulary, token_dtype
from megatron_music.train.hyperparameters import ADAM_BETAS, INIT_STD, learning_rate

WARMUP = 5
"""Iterations before those that count."""

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {
    "engine": ["-m", "megatron_music", "train"],
    "trainer": [str(ROOT / "launch" / "huggingface.py")],
}

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


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


def adamw(model: nn.Module, train: TrainConfig) -> torch.optim.AdamW:
    weights = list(model.parameters())
    groups = [
        {"params": [w for w in weights if w.dim() > 1], "weight_decay": train.weight_decay},
        {"params": [w for w in weights if w.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=train.lr, betas=ADAM_BETAS, fused=True)


def times(
    model: nn.Module, draw: Callable[[], tuple[Tensor, Tensor]], train: TrainConfig
) -> tuple[list[float], float]:
    """Train; return the seconds of each iteration, and the last loss."""
    optimizer = adamw(model, train)
    accumulated = train.global_batch_size // train.micro_batch_size
    dtype, clip = DTYPES[train.precision], train.clip_grad or float("inf")
    seconds = []
    for iteration in range(1, train.train_iters + 1):
        begin = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(train, iteration)
        total = torch.zeros((), device=DEVICE)
        for _ in range(accumulated):
            with torch.autocast(DEVICE, dtype, enabled=dtype != torch.float32):
                loss = model(*draw())
            (loss / accumulated).backward()
            total += loss.detach()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad()
        mean = float(total) / accumulated  # waits for the GPU: its work counts
        seconds.append(time.perf_counter() - begin)
    return seconds, mean


def plain(words: list[str]) -> tuple[float, float]:
    """Return the median seconds of the plain loop's iterations, and its last loss."""
    compiles = words[0] == "--compile"
    name, data, *overrides = words[1:] if compiles else words
    recipe, vocabulary = load_recipe(name, overrides), load_vocabulary(Path(data) / "tokenizer")
    size = len(vocabulary)
    torch.manual_seed(recipe.train.seed)
    model: nn.Module = PlainGpt(recipe.model, padded_vocab_size(size)).to(DEVICE)
    if compiles:
        model.compile()
    draw = windows(Path(data) / "train.bin", token_dtype(size), recipe)
    seconds, loss = times(model, draw, recipe.train)
    return statistics.median(seconds[WARMUP:]), loss


def program(way: str, words: list[str]) -> tuple[float, float]:
    """Return the same of one of our programs, by its log."""
    recipe, data, *overrides = words
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, *PROGRAMS[way], recipe, "--data", data, "--run", str(run)]
        done = subprocess.run(
            [*command, *overrides, *QUIET], capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(done.stderr.strip())
        lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    measured = [json.loads(line) for line in lines][WARMUP:]
    return statistics.median(line["step_time_s"] for line in measured), measured[-1]["lm_loss"]


def main() -> None:
    way, *words = sys.argv[1:]
    step_s, loss = plain(words) if way == "plain" else program(way, words)
    print(json.dumps({"step_s": step_s, "loss": loss}))


if __name__ == "__main__":
    main()
