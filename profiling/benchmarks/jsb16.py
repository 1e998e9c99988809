"""Nats a cell on the canonical split of Bach's chorales, beside published figures.

    python profiling/benchmarks/jsb16.py Jsb16thSeparated.json -o build/jsb16
    python profiling/benchmarks/jsb16.py JSON -o DIR --recipe small --bars 16 train.train_iters=5000

Builds a data set of the split, trains and exports with the project's own commands, and reads every
window of the validation and test pieces once. Started again, it resumes from what is there. A cell
is one voice in one sixteenth; all nats of a window's tokens are shared among its cells.

`Jsb16thSeparated.json` holds 229, 76 and 77 pieces for training, validation and test: for each
sixteenth the MIDI pitches of soprano, alto, tenor and bass, -1 for silence. It has no bar lines
and does not tell a held note from a repeated one. Here a bar is sixteen sixteenths, counted from
the beginning of a piece, which are not the music's own bars where it has an upbeat or is not in
4/4. Equal pitches in a row within a bar are one held note. A note begins again with each bar,
since windows keep no note that began before them.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from harness import run, span

from megatron_music.data.build import build
from megatron_music.data.manifest import MANIFEST_FILE, file_records, read_manifest, sealed
from megatron_music.data.records import RECORDS_FILE
from megatron_music.data.report.verify import verify
from megatron_music.data.settings import SPLITS, BuildSettings
from megatron_music.data.sources.open import Source
from megatron_music.errors import DataError, InputError
from megatron_music.evaluate.bootstrap import Estimate, ratio
from megatron_music.evaluate.corpus import SplitWindows, read_split
from megatron_music.evaluate.heldout import WindowLosses, read
from megatron_music.evaluate.voices import CELLS_PER_BAR, CELLS_PER_QUARTER, SILENCE
from megatron_music.formatting import markdown_table
from megatron_music.generate.composer import Composer
from megatron_music.score.instruments import VOICES
from megatron_music.score.notes import IntArray, Score, Track
from megatron_music.tokenizer.codec import decode
from megatron_music.tokenizer.places_in_piece import PLACES_SUFFIX
from megatron_music.tokenizer.vocabulary import Vocabulary

PUBLISHED = {
    "count model, one step of context, voices joint": "0.93",
    "transformer of 308 K parameters": "0.407",
    "Music Transformer (from memory, unverified)": "0.335",
    "CoCoNet, causal (from memory, unverified)": "0.436",
}
ALL_WINDOWS = 1 << 30

Chorales = dict[str, list[IntArray]]
"""By split, of each piece the cells [4 voices, sixteenths]."""


def read_chorales(path: Path) -> Chorales:
    """Read the JSON file; raises InputError where it is not one of this form."""
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        pieces = {split: [np.array(of, np.int64).T for of in listed[split]] for split in SPLITS}
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise InputError(f"{path}: {fault}; give Jsb16thSeparated.json") from None
    for split, of_split in pieces.items():
        for number, cells in enumerate(of_split):
            sound = cells.ndim == 2 and len(cells) == len(VOICES) and (cells >= 0).any()
            if not sound or cells.min() < SILENCE or cells.max() > 127:
                raise InputError(
                    f"{path}: piece {number} of {split} has shape {cells.shape[::-1]}; expected "
                    "rows of four pitches -1..127, not all of them silent"
                )
    return pieces


@dataclass(frozen=True)
class Chorale:
    """A piece, as the builder reads it."""

    name: str
    cells: IntArray

    def read(self) -> Score:
        """Return the voices that sing; equal pitches in a row within a bar are one note."""
        tracks = []
        bar_lines = np.arange(0, self.cells.shape[1], CELLS_PER_BAR)
        for code, line in zip(VOICES, self.cells, strict=True):
            changes = np.flatnonzero(np.diff(line, prepend=SILENCE - 1, append=SILENCE - 1))
            edges = np.union1d(changes, bar_lines)
            onset, end, pitch = edges[:-1], edges[1:], line[edges[:-1]]
            sings = pitch != SILENCE
            tracks.append(Track(code, onset[sings], end[sings], pitch[sings]))
        return Score(CELLS_PER_QUARTER, tuple(track for track in tracks if len(track)))


def build_data(pieces: Chorales, folder: Path, settings: BuildSettings, workers: int) -> Path:
    """Build the data set of the canonical split, each side by the project's own builder.

    Training music is written as the settings say; the others once, in windows side by side.
    Returns its folder, `folder/data`. Raises DataError where a folder holds another data set.
    """
    data, made = folder / "data", folder / "parts" / "data"
    train = replace(settings, split=(1, 0, 0), density=False, merge=False)
    parts = {}
    for split, of_split in pieces.items():
        chosen = train if split == SPLITS[0] else replace(train, hop=None, transpositions=1)
        source = Source(
            name=f"jsb16-{split}",
            title="Chorales of J. S. Bach, sixteenths, four voices apart, the canonical split",
            licence="public domain",
            citation="N. Boulanger-Lewandowski, Y. Bengio and P. Vincent, ICML 2012: the split",
            fingerprint=sha256(b"".join(cells.tobytes() for cells in of_split)).hexdigest(),
            items=[Chorale(f"{split}-{i:03d}", cells) for i, cells in enumerate(of_split)],
        )
        parts[split] = folder / "parts" / split
        build(source, parts[split], chosen, workers)
    if not data.exists():
        shutil.rmtree(made, ignore_errors=True)
        _assemble(parts, made)
        made.replace(data)
    verify(data)
    return data


def _assemble(parts: dict[str, Path], folder: Path) -> None:
    """Make one data set of three, each of which has training music alone."""
    shutil.copytree(parts[SPLITS[0]] / "tokenizer", folder / "tokenizer")
    manifests = {split: read_manifest(part) for split, part in parts.items()}
    records = []
    for split, part in parts.items():
        for suffix in (".bin", ".idx", PLACES_SUFFIX):
            shutil.copyfile(part / f"{SPLITS[0]}{suffix}", folder / f"{split}{suffix}")
        for line in (part / RECORDS_FILE).read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            kept = record["outcome"] == "kept"
            records.append(json.dumps({**record, "split": split if kept else None}) + "\n")
    (folder / RECORDS_FILE).write_text("".join(records), encoding="utf-8")
    inputs = [of["inputs"] for of in manifests.values()]
    manifest = manifests[SPLITS[0]] | {
        "key": sha256("".join(of["key"] for of in manifests.values()).encode()).hexdigest(),
        "inputs": {name: sum(of[name] for of in inputs) for name in ("total", "kept")}
        | {"refused": dict(sum((Counter(of["refused"]) for of in inputs), Counter()))},
        "splits": {split: of["splits"][SPLITS[0]] for split, of in manifests.items()},
        "unigram_nats_per_token": {},
        "files": file_records(folder),
    }
    text = json.dumps(sealed(manifest), indent=2) + "\n"
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")


Costs = dict[str, Any]
"""A row of the page, by its titles. Nats are those of a cell; masked: illegal tokens forbidden."""

PLAIN, MASKED = "nats a cell", "with the grammar's mask"
FIRST_BAR, LATER_BARS = "first bar of a window", "its other bars"


def score(
    readings: Sequence[WindowLosses], windows: SplitWindows, pieces: list[IntArray], ids: Vocabulary
) -> Costs:
    """Share the nats of all windows of a split among the cells of its pieces."""
    if left_out := sum(reading.left_out for reading in readings):
        raise DataError(
            f"{left_out} tokens do not fit into the model's context; raise model.seq_length"
        )
    # What is forbidden gives its probability to the legal tokens: each becomes cheaper.
    saved = [np.log1p(-np.minimum(of.illegal, 1 - 1e-12)).sum() for of in readings]
    nats, saved_nats = (
        np.bincount(windows.groups, values, len(pieces))
        for values in ([of.nats.sum() for of in readings], saved)
    )
    bars = [_bars(reading.targets, ids) for reading in readings]
    place, cost = np.concatenate(bars), np.concatenate([reading.nats for reading in readings])
    cells, each = np.array([of.size for of in pieces], np.float64), np.arange(len(pieces))
    cells_per_bar = len(VOICES) * CELLS_PER_BAR
    later = sum(int(of.max()) for of in bars) * cells_per_bar
    return {
        "pieces": len(pieces),
        "cells": int(cells.sum()),
        "tokens": len(cost),
        PLAIN: ratio(nats, cells, each),
        MASKED: ratio(nats + saved_nats, cells, each),
        FIRST_BAR: float(cost[place == 0].sum()) / (len(readings) * cells_per_bar),
        LATER_BARS: float(cost[place > 0].sum()) / max(later, 1),
        "tokens of no bar": float(cost[place < 0].sum()) / float(cells.sum()),
    }


def _bars(targets: IntArray, ids: Vocabulary) -> IntArray:
    """Return the bar of its window that each token belongs to; -1 for tokens of no bar."""
    closes = targets == ids.bar_end
    begun = np.cumsum(targets == ids.bar_start)
    before_track = np.maximum.accumulate(np.where(targets == ids.track_start, begun, 0))
    inside = begun - (np.cumsum(closes) - closes) > 0
    bars: IntArray = np.where(inside, begun - before_track - 1, -1)
    return bars


def read_splits(model: Path, data: Path, pieces: Chorales) -> dict[str, Costs]:
    """Read the validation and test windows; once more without the place, where the model has it."""
    composer = Composer.load(model)
    scores = {}
    for split in SPLITS[1:]:
        documents = read_split(data, split, ALL_WINDOWS, composer.vocabulary)
        if len(np.unique(documents.groups)) != len(pieces[split]):
            raise DataError(f"{data} does not hold all pieces of {split}: see files.jsonl")
        bars = sum(-(-cells.shape[1] // CELLS_PER_BAR) for cells in pieces[split])
        held = sum(decode(tokens, composer.vocabulary).bars for tokens in documents.tokens)
        if held != bars:
            raise DataError(f"{data} holds {held} of the {bars} bars of {split}; remove it")
        told = {split: documents.places}
        if "place" in (getattr(composer.model.config, "structural_inputs", None) or ()):
            told[f"{split}, place in the piece not told"] = np.full_like(documents.places, -1)
        for name, places in told.items():
            readings = read(composer.model, composer.vocabulary, documents.tokens, places)
            scores[name] = score(readings, documents, pieces[split], composer.vocabulary)
    return scores


def page(scores: dict[str, Costs], options: argparse.Namespace, words: Sequence[str]) -> str:
    """Return the results as Markdown."""

    def written(value: float | Estimate) -> str:
        if isinstance(value, Estimate):
            return span(value)
        return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"

    test = scores[SPLITS[-1]]
    rows = [[name, *map(written, costs.values())] for name, costs in scores.items()]
    lost = max(0.0, test[FIRST_BAR] - test[LATER_BARS]) / options.bars
    ours = {"this one": span(test[PLAIN]), f"this one, {MASKED}": span(test[MASKED])}
    return "\n\n".join(
        [
            "# Chorales on the canonical split",
            f"`python profiling/benchmarks/jsb16.py {' '.join(words)}`: recipe "
            f"`{options.recipe}`, windows of {options.bars} bars, for training one every "
            f"{options.hop} bars in {options.transpositions} keys; validation and test splits "
            "together, each cell once. Square brackets are 95 % intervals, resampling pieces.",
            markdown_table(["split", *test], rows),
            "A window knows nothing of the bars before it, as published models do. That its first "
            f"bar costs more than the others makes about {lost:.3f} nats a cell of the test's.",
            markdown_table(["model", "nats a cell, test"], (PUBLISHED | ours).items()),
            "Published figures are of other encodings and, where from memory, unverified.\n",
        ]
    )


def main() -> None:
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
    options = parser.parse_intermixed_args()
    options.hop = options.hop or max(1, options.bars // 2)
    names = ("bars", "hop", "transpositions", "shuffle")
    settings = BuildSettings(**{name: getattr(options, name) for name in names})
    run_dir, model = options.output / "run", options.output / "hf"
    pieces = read_chorales(options.json)
    data = build_data(pieces, options.output, settings, options.workers)
    for command in (
        ("train", options.recipe, "--data", data, "--run", run_dir, *options.overrides),
        ("export", run_dir, "-o", model),
    ):
        done = subprocess.run([sys.executable, "-m", "megatron_music", *command], check=False)
        if done.returncode:
            sys.exit(done.returncode)
    text = page(read_splits(model, data, pieces), options, sys.argv[1:])
    (options.output / "jsb16.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    run(main)
