"""What keeping the best songs gives: a critic and the figures of all songs beside those kept.

    python profiling/benchmarks/best_of.py runs/bach-tiny/hf --data data/bach -o best.md

Composes `--groups` times `--of` songs, keeps the best `--best` of each group as `sample` does, and
compares both sets with held-out windows. The critic is the one of `evaluate`, trained anew on each
set: with fewer songs its interval is wider and its area smaller, so that the third column has as
many songs as are kept, the first of each group.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from harness import head, run, span

from megatron_music.data.settings import SPLITS
from megatron_music.evaluate.best import RealMusic, best_of
from megatron_music.evaluate.bootstrap import mean
from megatron_music.evaluate.corpus import compared_bars, read_split, whole_windows
from megatron_music.evaluate.critic import cross_validated, features
from megatron_music.evaluate.measures import FIGURES
from megatron_music.evaluate.voices import VOICE_FIGURES
from megatron_music.formatting import markdown_table
from megatron_music.generate.composer import Composer
from megatron_music.generate.song_request import Request

MOST_WINDOWS = 400
PACKAGES = ("torch", "transformers", "scikit-learn", "numpy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, metavar="HFDIR")
    parser.add_argument("--data", type=Path, required=True, help="what it was trained on")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.md")
    parser.add_argument("--of", type=int, default=32, help="songs a group")
    parser.add_argument("--best", type=int, default=4, help="of each group are kept")
    parser.add_argument("--groups", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1000, help="of the first song")
    parser.add_argument("--whole", action="store_true", help="songs begin and end like pieces")
    options = parser.parse_args()
    text = measure(options)
    options.output.write_text(text, encoding="utf-8")
    print(text)


def measure(options: argparse.Namespace) -> str:
    """Return the page."""
    composer = Composer.load(options.model)
    vocabulary = composer.vocabulary
    real = RealMusic.of(options.data, vocabulary)
    train, valid, test = (read_split(options.data, s, MOST_WINDOWS, vocabulary) for s in SPLITS)
    held_out, of_piece = whole_windows(valid.and_also(test), vocabulary)
    real_windows, real_groups = whole_windows(train.and_also(valid).and_also(test), vocabulary)
    whole = {"begin": options.whole, "end": options.whole}
    request = Request(options.of, bars=compared_bars(vocabulary), **whole)
    began = time.perf_counter()
    seeds = (options.seed + group * options.of for group in range(options.groups))
    groups = [list(composer.compose(replace(request, seed=seed))) for seed in seeds]
    composed_s, began = time.perf_counter() - began, time.perf_counter()
    best = [best_of(group, options.best, real, vocabulary, closing=request.end) for group in groups]
    ranked_s = time.perf_counter() - began
    chosen = {"all": groups, "the best": best, "the first": [of[: options.best] for of in groups]}
    columns, areas = {}, []
    for name, parts in chosen.items():
        songs = [song.piece for part in parts for song in part]
        columns[f"{name} {len(songs)}"] = songs, np.arange(len(songs))
        area = cross_validated(
            features(real_windows), features(songs), real_groups, np.arange(len(songs))
        )
        areas.append(span(area))
    rows = [["critic's AUC", *areas, ""]]
    for name, figure in (FIGURES | (VOICE_FIGURES if vocabulary.settings.voices else {})).items():
        sets = (*columns.values(), (held_out, of_piece))
        means = [mean(np.array([figure(one) for one in songs]), of) for songs, of in sets]
        rows.append([name, *map(span, means)])
    return (
        f"{head(f'The best {options.best} of {options.of}', PACKAGES)}\n"
        f"{markdown_table(['', *columns, 'held-out music'], rows)}\n\n"
        f"Composing took {composed_s:.0f} s, ranking {ranked_s:.1f} s.\n"
    )


if __name__ == "__main__":
    run(main)
