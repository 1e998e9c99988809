"""The loop a person would write, as nanoGPT does: `train_plain.py RECIPE DATA [key=value ...]`.

Pre-norm blocks on scaled_dot_product_attention, a tied head, autocast, fused AdamW with its weight
decay on matrices alone, a cosine, clipped gradients, random windows of the memory-mapped tokens.
With `--compile` first, under torch.compile. Mirrors train.py of github.com/karpathy/nanoGPT.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own habit
from train_case import WARMUP

from megatron_music.config import ModelConfig, Recipe, TrainConfig, load_recipe
from megatron_music.costs.flops import padded_vocab_size
from megatron_music.tokenizer.vocabulary import load_vocabulary, token_dtype
from megatron_music.train.hyperparameters import ADAM_BETAS, INIT_STD, learning_rate

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


def main() -> None:
    compiles = sys.argv[1] == "--compile"
    name, data, *overrides = sys.argv[2:] if compiles else sys.argv[1:]
    recipe, vocabulary = load_recipe(name, overrides), load_vocabulary(Path(data) / "tokenizer")
    size = len(vocabulary)
    torch.manual_seed(recipe.train.seed)
    model: nn.Module = PlainGpt(recipe.model, padded_vocab_size(size)).to(DEVICE)
    if compiles:
        model.compile()
    draw = windows(Path(data) / "train.bin", token_dtype(size), recipe)
    seconds, loss = times(model, draw, recipe.train)
    print(json.dumps({"step_s": statistics.median(seconds[WARMUP:]), "loss": loss}))


if __name__ == "__main__":
    main()
