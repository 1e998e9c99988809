"""What keeping the best songs gives: a critic and the figures of all songs beside those kept.

    python profiling/benchmarks/best_of.py runs/bach-tiny/hf --data data/bach -o best.md

Composes `--groups` times `--of` songs, keeps the best `--best` of each group as `sample` does, and
compares both sets with held-out windows. The critic is the one of `evaluate`, trained anew on each
set: with fewer songs its interval is wider and its area smaller, so that the third column has as
many songs as are kept, the first of each group.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from harness import describe, load_average, noise

from megatron_music.data.settings import SPLITS
from megatron_music.errors import MusicError
from megatron_music.evaluate.best import RealMusic, best_of
from megatron_music.evaluate.bootstrap import Estimate, mean
from megatron_music.evaluate.comparison import WindowSet
from megatron_music.evaluate.corpus import read_split, whole_windows
from megatron_music.evaluate.critic import cross_validated, features
from megatron_music.evaluate.measures import FIGURES
from megatron_music.evaluate.voices import VOICE_FIGURES
from megatron_music.generate.composer import Composer
from megatron_music.generate.request import Request
from megatron_music.generate.song import Song
from megatron_music.tokenizer.vocabulary import Vocabulary
from megatron_music.wording import markdown_table

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
    arguments = parser.parse_args()
    try:
        text = measure(arguments)
    except MusicError as fault:
        sys.exit(f"error: {fault}")
    arguments.output.write_text(text, encoding="utf-8")
    print(text)


def measure(arguments: argparse.Namespace) -> str:
    """Return the page."""
    composer = Composer.load(arguments.model)
    vocabulary = composer.vocabulary
    real = RealMusic.of(arguments.data, vocabulary)
    splits = [_windows(arguments.data, split, vocabulary) for split in SPLITS]
    held_out = _joined(*splits[1:])
    began = time.perf_counter()
    groups = [
        list(
            composer.compose(Request(count=arguments.of, seed=seed, bars=vocabulary.settings.bars))
        )
        for seed in (arguments.seed + group * arguments.of for group in range(arguments.groups))
    ]
    composed_s, began = time.perf_counter() - began, time.perf_counter()
    best = [best_of(group, arguments.best, real, vocabulary) for group in groups]
    ranked_s = time.perf_counter() - began
    columns = {
        f"{name} {sum(map(len, parts))}": _composed(parts)
        for name, parts in (
            ("all", groups),
            ("the best", best),
            ("the first", [group[: arguments.best] for group in groups]),
        )
    }
    areas = (_span(_area(_joined(splits[0], held_out), music)) for music in columns.values())
    rows = [["critic's AUC", *areas, ""]]
    figures = FIGURES | (VOICE_FIGURES if vocabulary.settings.voices else {})
    for name, figure in figures.items():
        means = (
            mean(np.array([figure(piece) for piece in music.pieces]), music.groups)
            for music in (*columns.values(), held_out)
        )
        rows.append([name, *map(_span, means)])
    machine, load = describe(PACKAGES), load_average()
    return (
        f"# The best {arguments.best} of {arguments.of}\n\n"
        f"{datetime.now(UTC):%Y-%m-%d}, {machine.text}; load {load:.1f}{noise(load)}.\n\n"
        f"    python {' '.join(sys.argv)}\n\n"
        f"{markdown_table(['', *columns, 'held-out music'], rows)}\n\n"
        f"Composing took {composed_s:.0f} s, ranking {ranked_s:.1f} s.\n"
    )


def _windows(data: Path, split: str, vocabulary: Vocabulary) -> WindowSet:
    return WindowSet(*whole_windows(read_split(data, split, MOST_WINDOWS, vocabulary), vocabulary))


def _joined(first: WindowSet, second: WindowSet) -> WindowSet:
    further = second.groups + int(first.groups.max(initial=-1)) + 1
    return WindowSet([*first.pieces, *second.pieces], np.concatenate((first.groups, further)))


def _composed(parts: Sequence[Sequence[Song]]) -> WindowSet:
    pieces = [song.piece for part in parts for song in part]
    return WindowSet(pieces, np.arange(len(pieces), dtype=np.int64))


def _area(real: WindowSet, composed: WindowSet) -> Estimate:
    return cross_validated(
        features(real.pieces), features(composed.pieces), real.groups, composed.groups
    )


def _span(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


if __name__ == "__main__":
    main()
