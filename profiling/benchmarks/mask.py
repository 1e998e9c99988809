"""Composing against plain `generate` of transformers, in one run.

    python profiling/benchmarks/mask.py [HFDIR] [--batch 1 8 32] [--repeat 5] [--sizes tiny article]

HFDIR is an exported model; without it, models of random weights in the sizes named. Three ways to
draw the same number of tokens for the same number of songs take turns, the best time of each
counts:

plain     `generate` of transformers with do_sample, temperature 1 and top-p 0.95
sampled   our decoding and sampler: a random stream a song, no grammar
masked    the same and the grammar: what `sample` does

On a busy machine `OMP_NUM_THREADS=1` and `--clock cpu` count processor time instead.

A ratio is tokens/s over those of plain: 0.95 is 5 % slower. The last column is what validity costs.
"""

import argparse
import time
from itertools import product
from pathlib import Path

import torch
from harness import run
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

from megatron_music.formatting import markdown_table
from megatron_music.generate.composer import Composer
from megatron_music.generate.decoding import Choose, decode
from megatron_music.generate.sampler import GrammarProcessor, PlanConstraint, SongSampler
from megatron_music.generate.sampling_params import SamplingParams
from megatron_music.generate.structural import SongReader
from megatron_music.omp import set_omp_wait_policy
from megatron_music.tokenizer.grammar_state import Plan
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary

CHORALE = (129, 130, 131, 132)
TASTE = SamplingParams(1.0, 0, 0.95, 0.0)
SIZES = {"tiny": (1, 256, 4, 640), "small": (4, 256, 4, 1024), "article": (6, 512, 8, 2048)}
"""Layers, width, heads and context of the models of random weights."""

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", help="a folder that export wrote")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32], help="songs at once")
    parser.add_argument("--sizes", nargs="+", default=["tiny", "article"], choices=SIZES)
    parser.add_argument("--tokens", type=int, default=400, help="of each song")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    logging.set_verbosity_error()
    clock = CLOCKS[options.clock]
    head, rows = ("model", "songs", "plain tok/s", "sampled", "masked", "mask alone"), []
    for name in [options.model] if options.model else options.sizes:
        composer = Composer.load(name) if options.model else untrained(*SIZES[name])
        for songs in options.batch:
            best = dict.fromkeys((plain, sampled, masked), 0.0)
            for turn, way in product(range(options.repeat + 1), best):
                start = clock()
                new_tokens = way(composer, songs, options.tokens)
                if turn:  # the first warms up
                    best[way] = max(best[way], songs * new_tokens / (clock() - start))
            bare, ours, valid = best.values()
            ratios = (f"{of:.3f}" for of in (ours / bare, valid / bare, valid / ours))
            rows.append((name, songs, f"{bare:.0f}", *ratios))
    print(markdown_table(head, rows))


def untrained(layers: int, width: int, heads: int, context: int) -> Composer:
    torch.manual_seed(0)
    vocabulary = Vocabulary(TokenizerSettings(bars=8))
    config = GPT2Config(
        vocab_size=len(vocabulary), n_positions=context, n_embd=width, n_layer=layers,
        n_head=heads, bos_token_id=vocabulary.piece_start, eos_token_id=vocabulary.piece_end,
        pad_token_id=vocabulary.pad,
    )  # fmt: skip
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Composer(GPT2LMHeadModel(config).to(device), vocabulary)


def plain(composer: Composer, songs: int, tokens: int) -> int:
    start = beginning(composer, songs)
    with torch.inference_mode():
        ids: torch.Tensor = composer.model.generate(
            start, attention_mask=torch.ones_like(start), do_sample=True, top_p=TASTE.top_p,
            top_k=0, min_new_tokens=tokens, max_new_tokens=tokens, eos_token_id=None,
            pad_token_id=composer.vocabulary.pad,
        )  # fmt: skip
    return ids.shape[1] - 1


def sampled(composer: Composer, songs: int, tokens: int) -> int:
    return drawn(composer, songs, tokens, SongSampler(range(songs), TASTE))


def masked(composer: Composer, songs: int, tokens: int) -> int:
    """Compose chorales of so many bars that no song ends before its tokens are drawn."""
    vocabulary = composer.vocabulary
    constraint = PlanConstraint(vocabulary, [Plan(200, CHORALE, None, True)] * songs)
    mask = GrammarProcessor(constraint, len(vocabulary))
    sample = SongSampler(range(songs), TASTE, vocabulary=vocabulary)
    return drawn(composer, songs, tokens, lambda ids, scores: sample(ids, mask(ids, scores)))


def drawn(composer: Composer, songs: int, tokens: int, choose: Choose) -> int:
    reader = SongReader(composer.model, composer.vocabulary)
    reader.begin(songs)
    rows = decode(reader.read, choose, beginning(composer, songs), [], 1 + tokens)
    return len(rows[0]) - 1


def beginning(composer: Composer, songs: int) -> torch.Tensor:
    return torch.full((songs, 1), composer.vocabulary.piece_start, device=composer.model.device)


if __name__ == "__main__":
    set_omp_wait_policy()
    run(main)
