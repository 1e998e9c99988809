"""Finished shards into the files of a data set, in the order of the source."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from megatron_music.data.documents import KEPT, REFUSED, Outcome, Rates
from megatron_music.data.indexed import write_index
from megatron_music.data.settings import SPLITS, BuildSettings
from megatron_music.data.shards import Shard, read_shard
from megatron_music.progress import Progress
from megatron_music.tokenizer.codec import density_levels
from megatron_music.tokenizer.vocabulary import (
    DENSITY_LEVELS,
    TokenArray,
    TokenizerSettings,
    Vocabulary,
)

OUTCOMES_FILE = "files.jsonl"


@dataclass(frozen=True)
class Plan:
    """What only all the shards together tell: the tokenizer's settings and the duplicates.

    `duplicates` gives, for shard and position, the name of the piece that has the music already.
    """

    tokenizer: TokenizerSettings
    duplicates: dict[tuple[int, int], str]


@dataclass
class Side:
    """What has been written to one side of the split."""

    pieces: int = 0
    lengths: list[npt.NDArray[np.int32]] = field(default_factory=list)
    token_counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def all_lengths(self) -> npt.NDArray[np.int32]:
        """Return the lengths of the documents in tokens."""
        return np.concatenate([np.zeros(0, np.int32), *self.lengths])


@dataclass
class Joined:
    """What has been written in all: the sides of the split, and the refusals by reason.

    `contents` is the hash of the digests of all inputs, in order.
    """

    sides: dict[str, Side]
    kept: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    contents: str = ""


def plan(paths: Sequence[Path], settings: BuildSettings) -> Plan:
    """Find the duplicates, and fit the tokenizer's settings to the training windows alone."""
    first_names: dict[str, str] = {}
    duplicates: dict[tuple[int, int], str] = {}
    rates: Counter[float] = Counter()
    ensembles: set[tuple[str, ...]] = set()
    for index, path in enumerate(paths):
        shard = read_shard(path, with_tokens=False)
        for position, outcome in enumerate(shard.outcomes):
            if outcome.outcome != KEPT:
                continue
            first = first_names.setdefault(outcome.fingerprint, outcome.name)
            if first != outcome.name:
                duplicates[index, position] = first
            elif outcome.split == SPLITS[0]:
                ensembles.add(tuple(outcome.instruments))
        _settle(shard, index, duplicates)
        rates.update(_training_rates(shard))
    return Plan(_fit(settings, rates, ensembles), duplicates)


def join(paths: Sequence[Path], plan: Plan, folder: Path, progress: Progress) -> Joined:
    """Write `{train,valid,test}.{bin,idx}` and `files.jsonl` into a folder."""
    vocabulary = Vocabulary(plan.tokenizer)
    joined = Joined(
        {name: Side(token_counts=np.zeros(len(vocabulary), np.int64)) for name in SPLITS}
    )
    contents = hashlib.sha256()
    with ExitStack() as stack:
        bins = {name: stack.enter_context((folder / f"{name}.bin").open("wb")) for name in SPLITS}
        lines = stack.enter_context((folder / OUTCOMES_FILE).open("w", encoding="utf-8"))
        for index, path in enumerate(paths):
            shard = read_shard(path)
            _settle(shard, index, plan.duplicates)
            lines.writelines(_line(outcome) for outcome in shard.outcomes)
            _count(shard.outcomes, joined)
            _append(shard, vocabulary, bins, joined)
            contents.update(shard.digests.tobytes())
            progress(index + 1, len(paths))
    joined.contents = contents.hexdigest()
    for name, side in joined.sides.items():
        with (folder / f"{name}.idx").open("wb") as file:
            write_index(file, side.all_lengths(), np.dtype(np.uint16))
    return joined


def _settle(shard: Shard, index: int, duplicates: dict[tuple[int, int], str]) -> None:
    """Refuse what is music of another piece."""
    for position, outcome in enumerate(shard.outcomes):
        first = duplicates.get((index, position))
        if first is not None:
            shard.outcomes[position] = Outcome(
                outcome.name,
                REFUSED,
                "duplicate",
                f"the music of {first}",
                bars=outcome.bars,
                fingerprint=outcome.fingerprint,
            )


def _of_split(shard: Shard, split: str) -> npt.NDArray[np.bool_]:
    """Mark the documents of a side of the split."""
    wanted = [outcome.split == split for outcome in shard.outcomes]
    marked: npt.NDArray[np.bool_] = np.array(wanted, np.bool_)[shard.owner]
    return marked


def _training_rates(shard: Shard) -> dict[float, int]:
    rates = shard.rates[np.repeat(_of_split(shard, SPLITS[0]), shard.tracks)]
    values, counts = np.unique(rates, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _fit(
    settings: BuildSettings, rates: Counter[float], ensembles: set[tuple[str, ...]]
) -> TokenizerSettings:
    start = settings.tokenizer()
    ensemble = next(iter(ensembles)) if len(ensembles) == 1 else ()
    whole = settings.max_tracks is None or len(ensemble) <= settings.max_tracks
    return TokenizerSettings(
        steps_per_quarter=start.steps_per_quarter,
        density=start.density,
        density_edges=density_edges(rates) if rates and start.density else start.density_edges,
        bars=start.bars,
        ensemble=ensemble if whole else (),
    )


def density_edges(rates: Counter[float]) -> tuple[float, ...]:
    """Return the nine figures that cut the rates, with their counts, into ten groups alike in size.

    Each is a rate that occurs. Where one rate fills several groups, levels stay unused.
    """
    values = np.array(sorted(rates), np.float64)
    counts = np.cumsum([rates[value] for value in values.tolist()])
    ranks = counts[-1] * np.arange(1, DENSITY_LEVELS) / DENSITY_LEVELS
    return tuple(values[np.searchsorted(counts, ranks, side="right")].tolist())


def _line(outcome: Outcome) -> str:
    values = {
        "name": outcome.name,
        "outcome": outcome.outcome,
        "reason": outcome.reason or None,
        "detail": outcome.detail or None,
        "split": outcome.split or None,
        "bars": outcome.bars,
        "windows": outcome.windows,
        "documents": outcome.documents,
        "tokens": outcome.tokens,
        "fingerprint": outcome.fingerprint or None,
    }
    return json.dumps(values) + "\n"


def _count(outcomes: Sequence[Outcome], joined: Joined) -> None:
    for outcome in outcomes:
        if outcome.outcome == KEPT:
            joined.kept += 1
            joined.sides[outcome.split].pieces += 1
        else:
            joined.refused[outcome.reason] += 1


def _append(
    shard: Shard, vocabulary: Vocabulary, bins: Mapping[str, BinaryIO], joined: Joined
) -> None:
    tokens = _with_densities(shard.tokens, shard.rates, vocabulary)
    documents = np.searchsorted(shard.owner, np.arange(len(shard.outcomes) + 1))
    edges = np.concatenate(([0], np.cumsum(shard.lengths, dtype=np.int64)))[documents].tolist()
    for name, side in joined.sides.items():
        chosen = [i for i, outcome in enumerate(shard.outcomes) if outcome.split == name]
        parts = [tokens[edges[i] : edges[i + 1]] for i in chosen]
        of_side = np.concatenate([np.zeros(0, np.uint16), *parts])
        bins[name].write(of_side.data)
        side.lengths.append(shard.lengths[_of_split(shard, name)])
        side.token_counts += np.bincount(of_side, minlength=len(vocabulary))


def _with_densities(tokens: TokenArray, rates: Rates, vocabulary: Vocabulary) -> TokenArray:
    """Put the density levels where the shard has placeholders: one a track, in order."""
    if not vocabulary.settings.density:
        return tokens
    placeholders = np.flatnonzero((tokens >= vocabulary.density) & (tokens < vocabulary.attribute))
    settled = tokens.copy()
    settled[placeholders] = vocabulary.density + density_levels(rates, vocabulary)
    return settled
