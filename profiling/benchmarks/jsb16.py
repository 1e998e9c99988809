"""Nats a cell on the canonical split of Bach's chorales, beside published figures.

    python profiling/benchmarks/jsb16.py Jsb16thSeparated.json -o build/jsb16
    python profiling/benchmarks/jsb16.py JSON -o DIR --recipe small --bars 16 train.train_iters=5000

Builds a data set of the split, trains and exports with the project's own commands, and reads every
window of the validation and test pieces once. Started again, it resumes from what is there. A cell
is one voice in one sixteenth; all nats of a window's tokens are shared among its cells.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jsb16_data import Chorales, build_data, check_cells, read_chorales

from megatron_music.data.settings import SPLITS, BuildSettings
from megatron_music.errors import DataError, MusicError
from megatron_music.evaluate.bootstrap import Estimate, ratio
from megatron_music.evaluate.corpus import SplitWindows, read_split
from megatron_music.evaluate.heldout import FloatArray, WindowLosses, read
from megatron_music.evaluate.voices import CELLS_PER_BAR
from megatron_music.generate.composer import Composer
from megatron_music.score.instruments import VOICES
from megatron_music.score.notes import IntArray
from megatron_music.tokenizer.vocabulary import Vocabulary
from megatron_music.wording import markdown_table

PUBLISHED = {
    "count model, one step of context, voices joint": "0.93",
    "transformer of 308 K parameters": "0.407",
    "Music Transformer (from memory, unverified)": "0.335",
    "CoCoNet, causal (from memory, unverified)": "0.436",
}
_MOST_WINDOWS = 1 << 30


@dataclass(frozen=True)
class Score:
    """What a split costs: nats a cell, with illegal tokens forbidden, and where in its windows.

    `first_bar` and `later_bars` are nats a cell of the bars that begin a window and of the others,
    `frame` of the tokens that belong to no bar.
    """

    pieces: int
    cells: int
    tokens: int
    plain: Estimate
    masked: Estimate
    first_bar: float
    later_bars: float
    frame: float


def score(
    readings: Sequence[WindowLosses],
    documents: SplitWindows,
    pieces: list[IntArray],
    ids: Vocabulary,
) -> Score:
    """Share the nats of all windows of a split among the cells of its pieces."""
    if left_out := sum(reading.left_out for reading in readings):
        raise DataError(
            f"{left_out} tokens do not fit into the model's context; raise model.seq_length"
        )
    cells = np.array([of.size for of in pieces], np.float64)
    nats, saved = (_by_piece(of, documents.groups, len(pieces)) for of in _nats(readings))
    bars = [_bars(reading, ids) for reading in readings]
    place, cost = np.concatenate(bars), np.concatenate([reading.nats for reading in readings])
    windows = sum(int(of.max()) + 1 for of in bars)
    first = len(readings) * len(VOICES) * CELLS_PER_BAR
    later = (windows - len(readings)) * len(VOICES) * CELLS_PER_BAR
    each = np.arange(len(pieces))
    return Score(
        pieces=len(pieces),
        cells=int(cells.sum()),
        tokens=len(cost),
        plain=ratio(nats, cells, each),
        masked=ratio(nats + saved, cells, each),
        first_bar=float(cost[place == 0].sum()) / first,
        later_bars=float(cost[place > 0].sum()) / max(later, 1),
        frame=float(cost[place < 0].sum()) / float(cells.sum()),
    )


def _nats(readings: Sequence[WindowLosses]) -> tuple[FloatArray, FloatArray]:
    """Return of each window its nats, and what forbidding illegal tokens adds to them."""
    saved = [np.log1p(-np.minimum(of.illegal, 1 - 1e-12)).sum() for of in readings]
    return np.array([of.nats.sum() for of in readings]), np.array(saved)


def _by_piece(values: FloatArray, groups: IntArray, count: int) -> FloatArray:
    return np.bincount(groups, values, count).astype(np.float64)


def _bars(reading: WindowLosses, ids: Vocabulary) -> IntArray:
    """Return the bar of its window that each token belongs to; -1 for tokens of no bar."""
    targets = reading.targets
    opens, closes = targets == ids.bar_start, targets == ids.bar_end
    begun = np.cumsum(opens)
    before_track = np.maximum.accumulate(np.where(targets == ids.track_start, begun, 0))
    inside = begun - (np.cumsum(closes) - closes) > 0
    bars: IntArray = np.where(inside, begun - before_track - 1, -1)
    return bars


def read_splits(model: Path, data: Path, pieces: Chorales) -> dict[str, Score]:
    """Read the validation and test windows; once more without the place, where the model has it."""
    composer = Composer.load(model)
    scores = {}
    for split in SPLITS[1:]:
        documents = read_split(data, split, _MOST_WINDOWS, composer.vocabulary)
        if len(np.unique(documents.groups)) != len(pieces[split]):
            raise DataError(f"{data} does not hold all pieces of {split}: see files.jsonl")
        check_cells(pieces[split], documents, composer.vocabulary)
        told = {split: documents.places}
        if "place" in (getattr(composer.model.config, "structural_inputs", None) or ()):
            told[f"{split}, place in the piece not told"] = np.full_like(documents.places, -1)
        for name, places in told.items():
            readings = read(composer.model, composer.vocabulary, documents.tokens, places)
            scores[name] = score(readings, documents, pieces[split], composer.vocabulary)
    return scores


def page(scores: dict[str, Score], arguments: argparse.Namespace, words: Sequence[str]) -> str:
    """Return the results as Markdown."""
    head = ["split", "pieces", "cells", "tokens", "nats a cell", "with the grammar's mask",
            "first bar of a window", "its other bars", "tokens of no bar"]  # fmt: skip
    rows = [
        [
            name,
            str(of.pieces),
            f"{of.cells:,}",
            f"{of.tokens:,}",
            _span(of.plain),
            _span(of.masked),
            *(f"{value:.3f}" for value in (of.first_bar, of.later_bars, of.frame)),
        ]
        for name, of in scores.items()
    ]
    test = scores[SPLITS[-1]]
    lost = max(0.0, test.first_bar - test.later_bars) / arguments.bars
    known = [[name, value] for name, value in PUBLISHED.items()]
    return "\n\n".join(
        [
            "# Chorales on the canonical split",
            f"`python profiling/benchmarks/jsb16.py {' '.join(words)}`: recipe "
            f"`{arguments.recipe}`, windows of {arguments.bars} bars, for training one every "
            f"{arguments.hop} bars in {arguments.transpositions} keys; validation and test splits "
            "together, each cell once. Square brackets are 95 % intervals, resampling pieces.",
            markdown_table(head, rows),
            "A window knows nothing of the bars before it, as published models do. That its first "
            f"bar costs more than the others makes about {lost:.3f} nats a cell of the test's.",
            markdown_table(["model", "nats a cell, test"], [*known, ["this one", _span(test.plain)],
                  ["this one, with the grammar's mask", _span(test.masked)]]),
            "Published figures are of other encodings and, where from memory, unverified.",
        ]
    ) + "\n"  # fmt: skip


def _span(of: Estimate) -> str:
    return f"{of.value:.3f} [{of.low:.3f}, {of.high:.3f}]"


def _command(*words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "megatron_music", *words], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def main(words: Sequence[str]) -> None:
    arguments = _arguments(words)
    settings = BuildSettings(
        bars=arguments.bars,
        hop=arguments.hop,
        transpositions=arguments.transpositions,
        shuffle=arguments.shuffle,
    )
    output = arguments.output
    try:
        pieces = read_chorales(arguments.json)
        data = build_data(pieces, output, settings, arguments.workers)
        run, model = str(output / "run"), output / "hf"
        _command("train", arguments.recipe, "--data", str(data), "--run", run, *arguments.overrides)
        _command("export", run, "-o", str(model))
        text = page(read_splits(model, data, pieces), arguments, words)
    except MusicError as fault:
        print(f"error: {fault}", file=sys.stderr)
        sys.exit(fault.exit_code)
    (output / "jsb16.md").write_text(text, encoding="utf-8")
    print(text)


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("json", type=Path, help="Jsb16thSeparated.json")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a folder for all of it")
    parser.add_argument("--recipe", default="tiny", help="what to train")
    parser.add_argument("--bars", type=int, default=8, help="of a window")
    parser.add_argument("--hop", type=int, help="bars between training windows, else half a window")
    parser.add_argument("--transpositions", type=int, default=12, help="keys of training music")
    parser.add_argument("--shuffle", action="store_true", help="voices in any order, not S A T B")
    parser.add_argument("--workers", type=int, default=1, help="processes that build the data set")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as in train.lr=1e-3")
    arguments = parser.parse_intermixed_args(words)
    arguments.hop = arguments.hop or max(1, arguments.bars // 2)
    return arguments


if __name__ == "__main__":
    main(sys.argv[1:])
