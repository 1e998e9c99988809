"""Composing: its speed beside plain `generate` of transformers; what keeping the best songs gives.

    python profiling/benchmarks/composing.py speed [HFDIR] [--batch 1 8 32] [--sizes tiny article]
    python profiling/benchmarks/composing.py best HFDIR --data data/bach -o best.md

`speed` draws the same number of tokens in three ways, which take turns; the best time of each
counts. `plain` is `generate` with temperature 1 and top-p 0.95, `sampled` our decoding and sampler
without the grammar, `masked` what `sample` does. Ratios are tokens/s over those of plain. Without
HFDIR the models have random weights. On a busy machine use `OMP_NUM_THREADS=1` and `--clock cpu`.

`best` composes `--groups` times `--of` songs, keeps the best `--best` of each group as `sample`
does, and compares them with held-out windows. The critic of `evaluate` is trained anew on each set.
With fewer songs its area is smaller: compare the best with the first songs, of which there are as
many.
"""

import argparse
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from harness import head, run, span
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

from megatron_music.data.settings import SPLITS
from megatron_music.evaluate.best import RealMusic, best_of
from megatron_music.evaluate.bootstrap import mean
from megatron_music.evaluate.corpus import compared_bars, read_split, whole_windows
from megatron_music.evaluate.critic import cross_validated, features
from megatron_music.evaluate.measures import FIGURES
from megatron_music.evaluate.voices import VOICE_FIGURES
from megatron_music.formatting import markdown_table
from megatron_music.generate.composer import Composer
from megatron_music.generate.decoding import decode
from megatron_music.generate.sampler import GrammarProcessor, PlanConstraint, SongSampler
from megatron_music.generate.sampling_params import SamplingParams
from megatron_music.generate.song_request import Request
from megatron_music.generate.structural import SongReader
from megatron_music.omp import set_omp_wait_policy
from megatron_music.score.instruments import VOICES
from megatron_music.tokenizer.grammar_state import Plan
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary

SAMPLING = SamplingParams(1.0, 0, 0.95, 0.0)
SIZES = {"tiny": (1, 256, 4, 640), "small": (4, 256, 4, 1024), "article": (6, 512, 8, 2048)}
"""Layers, width, heads and context of the models of random weights."""

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
WAYS = ("plain", "sampled", "masked")
MOST_WINDOWS = 400
PACKAGES = ("torch", "transformers", "scikit-learn", "numpy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    add = (of_speed := commands.add_parser("speed")).add_argument
    of_speed.set_defaults(measure=speed)
    add("model", type=Path, nargs="?", metavar="HFDIR", help="a folder that export wrote")
    add("--batch", type=int, nargs="+", default=[1, 8, 32], help="songs at once")
    add("--sizes", nargs="+", default=["tiny", "article"], choices=SIZES)
    add("--tokens", type=int, default=400, help="of each song")
    add("--repeat", type=int, default=5)
    add("--clock", choices=CLOCKS, default="wall")
    add = (of_best := commands.add_parser("best")).add_argument
    of_best.set_defaults(measure=best)
    add("model", type=Path, metavar="HFDIR")
    add("--data", type=Path, required=True, help="what it was trained on")
    add("-o", "--output", type=Path, required=True, metavar="FILE.md")
    add("--of", type=int, default=32, help="songs a group")
    add("--best", type=int, default=4, help="of each group are kept")
    add("--groups", type=int, default=6)
    add("--seed", type=int, default=1000, help="of the first song")
    add("--whole", action="store_true", help="songs begin and end like pieces")
    options = parser.parse_args()
    text = options.measure(options)
    if options.measure is best:
        options.output.write_text(text, encoding="utf-8")
    print(text)


def speed(options: argparse.Namespace) -> str:
    """Return the table of rates."""
    logging.set_verbosity_error()
    clock, rows = CLOCKS[options.clock], []
    for name in [options.model] if options.model else options.sizes:
        composer = Composer.load(name) if options.model else untrained(*SIZES[name])
        for songs in options.batch:
            rates = dict.fromkeys(WAYS, 0.0)
            for turn, way in product(range(options.repeat + 1), WAYS):
                start = clock()
                new_tokens = draw(way, composer, songs, options.tokens)
                if turn:  # the first warms up
                    rates[way] = max(rates[way], songs * new_tokens / (clock() - start))
            plain, sampled, masked = rates.values()
            ratios = (f"{of:.3f}" for of in (sampled / plain, masked / plain, masked / sampled))
            rows.append((name, songs, f"{plain:.0f}", *ratios))
    return markdown_table(
        ("model", "songs", "plain tok/s", "sampled", "masked", "mask alone"), rows
    )


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


def draw(way: str, composer: Composer, songs: int, tokens: int) -> int:
    """Draw tokens for some songs at once; return how many each of them got."""
    vocabulary, model = composer.vocabulary, composer.model
    start = torch.full((songs, 1), vocabulary.piece_start, device=model.device)
    if way == "plain":
        with torch.inference_mode():
            ids: torch.Tensor = model.generate(
                start, attention_mask=torch.ones_like(start), do_sample=True, top_k=0,
                top_p=SAMPLING.top_p, min_new_tokens=tokens, max_new_tokens=tokens,
                eos_token_id=None, pad_token_id=vocabulary.pad,
            )  # fmt: skip
        return ids.shape[1] - 1
    # Of so many bars that no song ends before its tokens are drawn.
    constraint = PlanConstraint(vocabulary, [Plan(200, VOICES, None, True)] * songs)
    mask = GrammarProcessor(constraint, len(vocabulary))
    masked = SongSampler(range(songs), SAMPLING, vocabulary=vocabulary)
    choose = {
        "sampled": SongSampler(range(songs), SAMPLING),
        "masked": lambda ids, scores: masked(ids, mask(ids, scores)),
    }
    reader = SongReader(model, vocabulary)
    reader.begin(songs)
    return len(decode(reader.read, choose[way], start, [], 1 + tokens)[0]) - 1


def best(options: argparse.Namespace) -> str:
    """Return the page."""
    composer = Composer.load(options.model)
    vocabulary = composer.vocabulary
    real = RealMusic.of(options.data, vocabulary)
    train, valid, test = (read_split(options.data, s, MOST_WINDOWS, vocabulary) for s in SPLITS)
    held_out = whole_windows(valid.and_also(test), vocabulary)
    real_windows, pieces = whole_windows(train.and_also(valid).and_also(test), vocabulary)
    whole = {"begin": options.whole, "end": options.whole}
    request = Request(options.of, bars=compared_bars(vocabulary), **whole)
    began = time.perf_counter()
    seeds = (options.seed + group * options.of for group in range(options.groups))
    groups = [list(composer.compose(replace(request, seed=seed))) for seed in seeds]
    composed_s, began = time.perf_counter() - began, time.perf_counter()
    kept = [best_of(group, options.best, real, vocabulary, closing=request.end) for group in groups]
    ranked_s = time.perf_counter() - began
    first = [group[: options.best] for group in groups]
    sets, areas = {}, []
    for name, parts in {"all": groups, "the best": kept, "the first": first}.items():
        songs = [song.piece for part in parts for song in part]
        each = np.arange(len(songs))
        sets[f"{name} {len(songs)}"] = songs, each
        area = cross_validated(features(real_windows), features(songs), pieces, each)
        areas.append(span(area))
    sets["held-out music"] = held_out
    rows = [["critic's AUC", *areas, ""]]
    for name, figure in (FIGURES | (VOICE_FIGURES if vocabulary.settings.voices else {})).items():
        means = [mean(np.array([figure(one) for one in of]), group) for of, group in sets.values()]
        rows.append([name, *map(span, means)])
    return (
        f"{head(f'The best {options.best} of {options.of}', PACKAGES)}\n"
        f"{markdown_table(['', *sets], rows)}\n\n"
        f"Composing took {composed_s:.0f} s, ranking {ranked_s:.1f} s.\n"
    )


if __name__ == "__main__":
    set_omp_wait_policy()
    run(main)
