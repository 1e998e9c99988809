"""Training speed of the engine and of a plain torch loop, on the same model, batch and threads.

    OMP_NUM_THREADS=2 python profiling/benchmarks/train.py --data data/bach --rounds 3
    python profiling/benchmarks/train.py --recipe article model.seq_length=512

Each round runs every variant once, as a process of its own, one after another; the median iteration
of a run after its warm-up counts, and of a variant the best round. The plain loop is what a person
would write: embedding, pre-norm blocks on scaled_dot_product_attention, a tied head, autocast in
bf16, fused AdamW, clipped gradients.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from megatron_music.config import Recipe, load_recipe
from megatron_music.costs.flops import padded_vocab_size
from megatron_music.tokenizer.vocabulary import load_vocabulary

WARMUP, MEASURED = 5, 20
QUIET = [
    "log.log_interval=1",
    "log.eval_interval=0",
    "log.save_interval=0",
    "log.tensorboard=false",
]


def engine(recipe: str, overrides: list[str], data: Path, precision: str, measured: int) -> float:
    with tempfile.TemporaryDirectory() as run:
        words = [*overrides, *QUIET, "log.sample_interval=0", f"train.precision={precision}"]
        command = [sys.executable, "-m", "megatron_music", "train", recipe, "--data", str(data)]
        iterations = f"train.train_iters={WARMUP + measured}"
        subprocess.run(
            [*command, "--run", f"{run}/run", *words, iterations], check=True, capture_output=True
        )
        lines = Path(run, "run", "log.jsonl").read_text(encoding="utf-8").splitlines()
    return statistics.median(json.loads(line)["tokens_per_s"] for line in lines[WARMUP:])


def plain(recipe: str, overrides: list[str], data: Path, precision: str, measured: int) -> float:
    command = [sys.executable, __file__, "--plain", precision, "--recipe", recipe]
    command += ["--iterations", str(measured)]
    told = subprocess.run(
        [*command, "--data", str(data), *overrides], check=True, capture_output=True, text=True
    )
    return float(told.stdout)


def plain_loop(recipe: Recipe, data: Path, precision: str, iterations: int) -> float:
    """Train the same model in plain torch; return tokens a second."""
    import torch
    from torch import nn

    shape, train = recipe.model, recipe.train
    width, heads = shape.hidden_size, shape.num_attention_heads
    size = padded_vocab_size(len(load_vocabulary(data / "tokenizer")))
    device = "cuda" if torch.cuda.is_available() else "cpu"

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            batch, tokens, _ = x.shape
            qkv = self.qkv(self.first(x)).view(batch, tokens, 3, heads, width // heads)
            q, k, v = qkv.permute(2, 0, 3, 1, 4)
            context = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.proj(context.transpose(1, 2).reshape(batch, tokens, width))
            hidden = nn.functional.gelu(self.up(self.second(x)), approximate="tanh")
            return x + self.down(hidden)

    words, places = nn.Embedding(size, width), nn.Embedding(shape.seq_length, width)
    blocks, norm = nn.Sequential(*(Block() for _ in range(shape.num_layers))), nn.LayerNorm(width)
    model = nn.ModuleList([words, places, blocks, norm]).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=train.lr, fused=True)
    positions = torch.arange(shape.seq_length, device=device)
    times = []
    for _ in range(WARMUP + iterations):
        begin = time.perf_counter()
        optimizer.zero_grad()
        for _ in range(train.global_batch_size // train.micro_batch_size):
            tokens = torch.randint(size, (train.micro_batch_size, shape.seq_length + 1)).to(device)
            cast = torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")
            with cast:
                hidden = norm(blocks(words(tokens[:, :-1]) + places(positions)))
                logits = nn.functional.linear(hidden, words.weight)
            loss = nn.functional.cross_entropy(
                logits.flatten(0, 1).float(), tokens[:, 1:].flatten()
            )
            loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return train.global_batch_size * shape.seq_length / statistics.median(times[WARMUP:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--data", type=Path, default=Path("data/bach"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=MEASURED)
    parser.add_argument("--plain", help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*")
    asked = parser.parse_args()
    if asked.plain:
        print(
            plain_loop(
                load_recipe(asked.recipe, asked.overrides),
                asked.data,
                asked.plain,
                asked.iterations,
            )
        )
        return
    best: dict[tuple[str, str], float] = {}
    for _ in range(asked.rounds):
        for precision in ("fp32", "bf16"):
            for name, run in (("engine", engine), ("plain torch", plain)):
                rate = run(asked.recipe, asked.overrides, asked.data, precision, asked.iterations)
                print(f"{name} {precision} {rate:,.0f}", file=sys.stderr, flush=True)
                best[name, precision] = max(rate, best.get((name, precision), 0.0))
    against = best["plain torch", "fp32"]
    for (name, precision), rate in best.items():
        print(f"{name:12} {precision}  {rate:>10,.0f} tokens/s  {rate / against:.2f}")


if __name__ == "__main__":
    main()
