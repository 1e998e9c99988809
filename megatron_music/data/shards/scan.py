"""Find what depends on all shards: duplicates, density levels, and where each shard is written.

This is one pass over the shards, in the order of the source and without their tokens, while workers
make later ones. The pass writes `files.jsonl` and the lengths of documents to disk, so memory does
not grow with the data set.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from megatron_music.data.counts import Counts, summed
from megatron_music.data.records import (
    DUPLICATE,
    NEAR_DUPLICATE,
    RECORDS_FILE,
    REFUSED,
    FileRecord,
    line,
)
from megatron_music.data.settings import SPLITS, BuildSettings
from megatron_music.data.shards.grid_cost import GridCost
from megatron_music.data.shards.near_duplicates import PERMUTATIONS, Numbers, first_alike
from megatron_music.data.shards.shard_file import (
    NO_SPLIT,
    Shard,
    read_documents,
    read_shard,
)
from megatron_music.data.split import FEW_PIECES, first_word
from megatron_music.tokenizer.spelling import BYTES, FIRST_BYTE, learn_pieces
from megatron_music.tokenizer.vocabulary import (
    DENSITY_LEVELS,
    TokenizerSettings,
    vocabulary_of,
)

LENGTHS_SUFFIX = ".lengths"
RAW_PLACES_SUFFIX = ".places"

SplitIndices = npt.NDArray[np.int8]


@dataclass
class SplitCounts:
    """The counts of one split: `lengths[n]` documents have n tokens."""

    pieces: int = 0
    tokens: int = 0
    lengths: Counts = field(default_factory=lambda: np.zeros(1, np.int64))


@dataclass(frozen=True)
class Share:
    """A shard, the final split of each of its pieces, and where its tokens begin in each split."""

    shard: Path
    splits: SplitIndices
    starts_tokens: tuple[int, ...]


@dataclass
class DatasetPlan:
    """The totals of a data set, and the `folder` where the scan has written files.

    `contents` is the hash of the bytes of all inputs, `grid` the cost of the grid if it was
    measured. `piece_bars[n]` kept pieces have n bars. `words` has the first words of their
    fingerprints, if pieces are few. `labels` is the manifest's record of `labels.Labelled`.
    """

    folder: Path
    tokenizer: TokenizerSettings
    splits: dict[str, SplitCounts]
    shares: list[Share] = field(default_factory=list)
    kept: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    contents: str = ""
    piece_bars: Counts = field(default_factory=lambda: np.zeros(1, np.int64))
    words: list[int] = field(default_factory=list)
    labels: dict[str, object] = field(default_factory=dict)
    grid: GridCost | None = None

    @property
    def is_kept(self) -> npt.NDArray[np.bool_]:
        """Which of the pieces, in the order of the source, are in the data set."""
        kept: npt.NDArray[np.bool_] = (
            np.concatenate([share.splits for share in self.shares]) != NO_SPLIT
        )
        return kept


def scan_shards(
    shards: Iterable[tuple[Path, Sequence[str]]],
    settings: BuildSettings,
    folder: Path,
    near: Numbers | None = None,
) -> DatasetPlan:
    """Scan finished shards, each with the names of its pieces; write `files.jsonl`.

    `near` is what `near_duplicates` returns. The scan also writes two files for each split:
    `.lengths`, the tokens of each document (int32), and `.places`, the rows of `.places.npy`
    (int32). The tokenizer's settings are fitted to the training windows alone. Raises DataError.
    """
    found = DatasetPlan(folder, settings.tokenizer(), {name: SplitCounts() for name in SPLITS})
    known = _Known(near)
    rates: Counter[float] = Counter()
    ensembles: set[tuple[str, ...]] = set()
    contents = hashlib.sha256()
    with ExitStack() as stack:
        lines = stack.enter_context((folder / RECORDS_FILE).open("wb"))
        lengths, places = (
            [stack.enter_context((folder / f"{name}{suffix}").open("wb")) for name in SPLITS]
            for suffix in (LENGTHS_SUFFIX, RAW_PLACES_SUFFIX)
        )
        for path, names in shards:
            shard = read_shard(path)
            again = known.duplicates(shard, names)
            splits = shard.splits.copy()
            splits[list(again)] = NO_SPLIT
            # Written once, when it is known which pieces are duplicates.
            lines.write(_settled(shard, names, again))
            bars = np.bincount(shard.bars[splits != NO_SPLIT], minlength=1)
            found.piece_bars = summed(found.piece_bars, bars)
            found.shares.append(_share(path, shard, splits, found, lengths, places))
            found.refused.update(shard.refused)
            found.refused.update(reason for reason, _ in again.values())
            if len(shard.window_rates):
                of_training = shard.window_rates[np.repeat(splits == 0, shard.window_counts)]
            else:
                of_training = shard.documents.rates[
                    np.repeat(splits[shard.owner] == 0, shard.documents.tracks)
                ]
            values, counts = np.unique(of_training, return_counts=True)
            rates.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
            ensembles.update(shard.ensembles[i] for i in np.unique(shard.ensemble[splits == 0]))
            contents.update(shard.digests)
    found.tokenizer = _fit(settings, rates, ensembles)
    found.contents = contents.hexdigest()
    if len(known.names) <= FEW_PIECES:
        found.words = [first_word(fingerprint.hex()) for fingerprint in known.names]
    return found


def near_duplicates(shards: Iterable[Path]) -> Numbers:
    """Return for each kept piece the number of the first piece that it resembles.

    Kept pieces are numbered over all shards. A piece that resembles none before it has its own
    number. Raises DataError.
    """
    from megatron_music.data.shards.quality import ALIKE

    sketches = [read_shard(path).sketches for path in shards]
    return first_alike(np.concatenate(sketches).reshape(-1, PERMUTATIONS), ALIKE)


def syllable_pieces(plan: DatasetPlan, most: int) -> tuple[str, ...]:
    """Return at most `most` pieces of the training syllables of shards that spell them in bytes.

    Raises DataError if a shard has been damaged.
    """
    first = vocabulary_of(plan.tokenizer).syllable
    counts = Counter[bytes]()
    for share in plan.shares:
        documents, owner = read_documents(share.shard)
        is_training = np.repeat(share.splits[owner] == 0, documents.lengths)
        byte = documents.tokens[is_training].astype(np.int64) - first
        # All other tokens as blanks, at which syllables are divided.
        is_text = (byte >= 0) & (byte < BYTES)
        text = np.where(is_text, byte + FIRST_BYTE, ord(" ")).astype(np.uint8).tobytes()
        counts.update(text.split())
    texts = {text.decode(errors="ignore"): count for text, count in sorted(counts.items())}
    return learn_pieces({text: count for text, count in texts.items() if text.isprintable()}, most)


class _Known:
    """The music met so far: `names` of pieces by their fingerprints."""

    def __init__(self, near: Numbers | None) -> None:
        self.names: dict[bytes, str] = {}
        self._near = [] if near is None else near.tolist()
        self._originals = dict.fromkeys(self._near, "")
        self._count = 0

    def duplicates(self, shard: Shard, names: Sequence[str]) -> dict[int, tuple[str, str]]:
        """Return the pieces whose music was met before: the reason, and the name of the first."""
        again = {}
        for position in np.flatnonzero(shard.splits != NO_SPLIT).tolist():
            music = shard.fingerprint(position)
            number, self._count = self._count, self._count + 1
            first = self._near[number] if self._near else number
            if first == number and self._near:
                self._originals[number] = names[position]
            if music in self.names:
                again[position] = DUPLICATE, self.names[music]
            elif first != number:
                again[position] = NEAR_DUPLICATE, self._originals[first]
            else:
                self.names[music] = names[position]
        return again


def _settled(shard: Shard, names: Sequence[str], originals: dict[int, tuple[str, str]]) -> bytes:
    """Return the lines of a shard, with those of duplicates replaced."""
    if not originals:
        return shard.lines
    lines = shard.lines.splitlines(keepends=True)
    for position, (reason, original) in originals.items():
        lines[position] = line(
            FileRecord(
                names[position],
                REFUSED,
                reason,
                f"the music of {original}" + (", nearly" if reason == NEAR_DUPLICATE else ""),
                bars=int(shard.bars[position]),
                fingerprint=shard.fingerprint(position).hex(),
            )
        )
    return b"".join(lines)


def _share(
    path: Path,
    shard: Shard,
    splits: SplitIndices,
    found: DatasetPlan,
    lengths_files: Sequence[BinaryIO],
    places_files: Sequence[BinaryIO],
) -> Share:
    """Count what a shard gives to each split; write the lengths and places of its documents."""
    starts = tuple(split.tokens for split in found.splits.values())
    # The rows of .places.npy: bars before the document, bars of its piece.
    documents = shard.documents
    rows = np.stack((documents.first_bars, shard.bars[shard.owner]), axis=1)
    for number, split in enumerate(found.splits.values()):
        here = splits[shard.owner] == number
        lengths = documents.lengths[here]
        lengths_files[number].write(lengths.data)
        places_files[number].write(rows[here].data)
        split.pieces += int(np.count_nonzero(splits == number))
        split.tokens += int(lengths.sum(dtype=np.int64))
        split.lengths = summed(split.lengths, np.bincount(lengths, minlength=1))
    found.kept += int(np.count_nonzero(splits != NO_SPLIT))
    return Share(path, splits, starts)


def _fit(
    settings: BuildSettings, rates: Counter[float], ensembles: set[tuple[str, ...]]
) -> TokenizerSettings:
    start = settings.tokenizer()
    # Given edges are those of another data set, whose tokens must mean the same.
    cut = rates and start.density and settings.density_edges is None
    ensemble = next(iter(ensembles)) if len(ensembles) == 1 else ()
    whole = settings.max_tracks is None or len(ensemble) <= settings.max_tracks
    return replace(
        start,
        density_edges=density_edges(rates) if cut else start.density_edges,
        ensemble=ensemble if whole else (),
    )


def density_edges(rates: Counter[float]) -> tuple[float, ...]:
    """Return nine of the rates, which divide all rates into ten groups of similar counts.

    If one rate fills several groups, some levels stay unused.
    """
    values = np.array(sorted(rates), np.float64)
    counts = np.cumsum([rates[value] for value in values.tolist()])
    ranks = counts[-1] * np.arange(1, DENSITY_LEVELS) / DENSITY_LEVELS
    return tuple(values[np.searchsorted(counts, ranks, side="right")].tolist())
