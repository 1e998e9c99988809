r"""How well labels steer a model: real music by label, and songs that were asked for by it.

    python profiling/benchmarks/label_accuracy.py --data data/scores --model runs/scores-tiny/hf \
        --labels COMPOSER=PALESTRINA COMPOSER=BACH -n 32 -o labels.md

The classifier of `evaluate` (a logistic regression on the measures of a window) learns from
training windows, as many of each label. It is tried on held-out windows and, with a model, on `-n`
songs asked for by each label. `evaluate` has the same table for the frequent labels of a data set;
this one takes rare ones, too. Without --model only real music is measured.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from harness import describe

from megatron_music.data.settings import SPLITS
from megatron_music.errors import MusicError, UsageError
from megatron_music.evaluate.bootstrap import Estimate
from megatron_music.evaluate.corpus import read_split
from megatron_music.evaluate.labelled import (
    LabelWindows,
    judge_of,
    label_windows,
    share_found,
    share_of_songs,
)
from megatron_music.generate.composer import Composer
from megatron_music.generate.request import Request
from megatron_music.tokenizer.vocabulary import Vocabulary, load_vocabulary
from megatron_music.wording import markdown_table

EVERY_WINDOW = 1 << 40
MOST_TRAINING, MOST_HELD_OUT = 400, 200
"""Windows of each label."""

PACKAGES = ("torch", "transformers", "scikit-learn", "numpy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--model", type=Path, metavar="HFDIR", help="trained on it")
    parser.add_argument("--labels", nargs="+", required=True, metavar="FAMILY=LABEL")
    parser.add_argument("-n", type=int, default=32, help="songs asked for by each label")
    parser.add_argument("--seed", type=int, default=1000, help="of the first song")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.md")
    arguments = parser.parse_args()
    try:
        text = measure(arguments)
    except MusicError as fault:
        sys.exit(f"error: {fault}")
    if arguments.output is not None:
        arguments.output.write_text(text, encoding="utf-8")
    print(text)


def measure(arguments: argparse.Namespace) -> str:
    """Return the page."""
    vocabulary = load_vocabulary(arguments.data / "tokenizer")
    tokens = {word: _token(word, vocabulary) for word in arguments.labels}
    training, held_out = _windows(arguments.data, tokens, vocabulary)
    judge = judge_of(training)
    composer = None if arguments.model is None else Composer.load(arguments.model)
    rows: list[Sequence[object]] = []
    for word, token in tokens.items():
        counts = training.labels.count(token), held_out.labels.count(token)
        cells = "", ""
        if composer is not None:
            request = Request(count=arguments.n, seed=arguments.seed, attributes=(word,))
            songs = [song.piece for song in composer.compose(request)]
            cells = str(len(songs)), span(share_of_songs(judge, songs, token))
        rows.append([word, *counts, span(share_found(judge, held_out, token)), *cells])
    head = ("label", "training windows", "held out", "found in them", "songs", "found in them")
    machine = describe(PACKAGES).text
    asked = f"`{arguments.model}`" if arguments.model else "no model"
    return (
        f"# Labels found by a classifier of real music\n\n{datetime.now(UTC):%Y-%m-%d}, "
        f"`{arguments.data}`, {asked}; {machine}.\n\n{markdown_table(head, rows)}\n"
    )


def _token(word: str, vocabulary: Vocabulary) -> int:
    if word not in vocabulary.settings.attributes:
        known = ", ".join(vocabulary.settings.attributes) or "none"
        raise UsageError(f"no label {word!r} in the data set; there are {known}")
    return vocabulary.ids[word]


def _windows(
    folder: Path, tokens: dict[str, int], vocabulary: Vocabulary
) -> tuple[LabelWindows, LabelWindows]:
    """Return training and held-out windows of the labels; raises UsageError for too few."""
    known = {token: word for word, token in tokens.items()}
    first, *rest = (_of_side(folder, side, known, vocabulary) for side in SPLITS)
    held_out = _joined(rest)
    for name, windows in {"training": first, "held-out": held_out}.items():
        counts = Counter(windows.labels)
        for token, word in known.items():
            if not counts[token]:
                raise UsageError(f"{word} has no whole {name} window; choose another label")
    return first, held_out


def _of_side(
    folder: Path, side: str, known: dict[int, str], vocabulary: Vocabulary
) -> LabelWindows:
    """Return as many windows of each label of a side, evenly spread."""
    split = read_split(folder, side, EVERY_WINDOW, vocabulary)
    most = MOST_TRAINING if side == SPLITS[0] else MOST_HELD_OUT
    labels = np.array(
        [next((t for t in of[1:9].tolist() if t in known), -1) for of in split.tokens], np.int64
    )
    chosen = []
    for token in known:
        places = np.flatnonzero(labels == token)
        count = min(most, len(places))
        chosen.append(places[np.arange(count) * len(places) // max(count, 1)])
    return label_windows(split.take(np.concatenate(chosen)), known, vocabulary)


def _joined(parts: Sequence[LabelWindows]) -> LabelWindows:
    pieces = [piece for part in parts for piece in part.pieces]
    labels = [label for part in parts for label in part.labels]
    groups, shift = [], 0
    for part in parts:
        groups.append(part.groups + shift)
        shift += int(part.groups.max(initial=-1)) + 1
    return LabelWindows(pieces, labels, np.concatenate(groups))


def span(estimate: Estimate) -> str:
    """Return a share with its interval."""
    return f"{estimate.value:.0%} ({estimate.low:.0%} to {estimate.high:.0%})"


if __name__ == "__main__":
    main()
