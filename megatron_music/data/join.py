"""The `.bin` and `.idx` files, of finished shards: each shard at its place, by any worker."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.data.indexed import write_index_of
from megatron_music.data.settings import SPLITS
from megatron_music.data.shard_file import read_documents
from megatron_music.data.survey import LENGTHS_SUFFIX, RAW_PLACES_SUFFIX, Share, Survey
from megatron_music.data.workers import WorkerDied, Workers
from megatron_music.errors import DataError
from megatron_music.files import sha256_of
from megatron_music.progress import Progress
from megatron_music.tokenizer.places import write_places
from megatron_music.tokenizer.vocabulary import (
    DENSITY_LEVELS,
    TokenArray,
    TokenizerSettings,
    vocabulary_of,
)

Counts = npt.NDArray[np.int64]

_TOKEN_BYTES = 2
_TOKEN_IDS = 1 << 16
_HASHED_BYTES = 1 << 18  # at once: what stays in the cache of a core


@dataclass(frozen=True)
class Joined:
    """What was written: how often each token occurs on each side, and the sha256 of each file."""

    token_counts: dict[str, Counts]
    sha256: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Placing:
    """The tokens of one shard to be written into the `.bin` files of a folder."""

    number: int
    share: Share
    tokenizer: TokenizerSettings
    folder: Path


class Placed(NamedTuple):
    """A shard whose tokens have been written: how often each occurs on each side."""

    number: int
    counts: Counts


@dataclass(frozen=True)
class Indexing:
    """The `.idx` and the `.places.npy` of one side to be written, from what the survey left."""

    prefix: Path


class Indexed(NamedTuple):
    """The files of an `Indexing` that have been written, and the sha256 of each."""

    sha256: dict[str, str]


def join(found: Survey, workers: Workers, progress: Progress) -> Joined:
    """Write `{train,valid,test}.{bin,idx,places.npy}`, where the survey wrote; raises DataError."""
    folder = found.folder
    for name, side in found.sides.items():
        with (folder / f"{name}.bin").open("wb") as file:
            file.truncate(side.tokens * _TOKEN_BYTES)
    placings = [
        Placing(number, share, found.tokenizer, folder) for number, share in enumerate(found.shares)
    ]
    indexings = [Indexing(folder / name) for name in SPLITS]
    total = np.zeros((len(SPLITS), len(vocabulary_of(found.tokenizer))), np.int64)
    ends = [share.starts_tokens for share in found.shares[1:]]
    ends.append(tuple(side.tokens for side in found.sides.values()))
    digests: dict[str, str] = {}
    placed = _placed(workers, (*indexings, *placings), total, digests)
    with ExitStack() as stack:
        hashes = [stack.enter_context(_RunningHash(folder / f"{name}.bin")) for name in SPLITS]
        for done, number in enumerate(_in_order(placed), 1):
            for running, end in zip(hashes, ends[number], strict=True):
                running.upto(end * _TOKEN_BYTES)
            progress(done, len(placings))
        for name, running in zip(SPLITS, hashes, strict=True):
            digests[f"{name}.bin"] = running.hexdigest()
    return Joined(dict(zip(SPLITS, total, strict=True)), digests)


def _placed(
    workers: Workers,
    tasks: Sequence[Indexing | Placing],
    total: Counts,
    digests: dict[str, str],
) -> Iterator[int]:
    """Let the workers write; give the numbers of the shards as they end.

    Their tokens are added to `total`, those of indices to `digests`.
    """
    try:
        for made in workers.run(_carry_out, tasks):
            if isinstance(made, Indexed):
                digests.update(made.sha256)
            else:
                total += made.counts
                yield made.number
    except WorkerDied:
        raise DataError(
            "a worker process ended while it wrote; memory may be short: use fewer --workers, "
            "the same command goes on from what is saved"
        ) from None


def _in_order(numbers: Iterable[int]) -> Iterator[int]:
    """Give 0, 1, 2, ... each as soon as it and all before it have come."""
    waiting: set[int] = set()
    following = 0
    for number in numbers:
        waiting.add(number)
        while following in waiting:
            waiting.remove(following)
            yield following
            following += 1


class _RunningHash:
    """The sha256 of a file that grows; reading it at once finds it in memory still."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sha256 = hashlib.sha256()
        self._done_bytes = 0
        self._buffer = memoryview(bytearray(_HASHED_BYTES))

    def __enter__(self) -> "_RunningHash":
        self._descriptor = os.open(self._path, os.O_RDONLY)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def upto(self, end_bytes: int) -> None:
        """Take in the file up to here."""
        while self._done_bytes < end_bytes:
            part = self._buffer[: end_bytes - self._done_bytes]
            size = os.preadv(self._descriptor, [part], self._done_bytes)
            self._sha256.update(part[:size])
            self._done_bytes += size

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()


def _carry_out(task: Indexing | Placing) -> Indexed | Placed:
    return index(task) if isinstance(task, Indexing) else place(task)


def index(task: Indexing) -> Indexed:
    """Write the index of one side and the places of its documents."""
    prefix = task.prefix
    made = (
        write_index_of(prefix.with_name(prefix.name + LENGTHS_SUFFIX)),
        write_places(prefix.with_name(prefix.name + RAW_PLACES_SUFFIX), prefix),
    )
    return Indexed({path.name: sha256_of(path) for path in made})


def place(task: Placing) -> Placed:
    """Write the tokens of a shard where they belong."""
    from megatron_music.data.join_kernel import settle

    vocabulary = vocabulary_of(task.tokenizer)
    documents = read_documents(task.share.shard)
    sides = task.share.sides[documents.owner]
    counts = np.zeros((len(SPLITS), _TOKEN_IDS), np.int64)
    edges = np.array(vocabulary.settings.density_edges, np.float64)
    levels = DENSITY_LEVELS if vocabulary.settings.density else 0
    settle(documents, sides, edges, np.uint16(vocabulary.density), np.uint16(levels), counts)
    tokens = documents.tokens
    ends = np.concatenate(([0], np.cumsum(documents.lengths, dtype=np.int64)))
    for number, name in enumerate(SPLITS):
        runs = [tokens[ends[first] : ends[last]] for first, last in _runs(sides == number)]
        _write_at(task.folder / f"{name}.bin", runs, task.share.starts_tokens[number])
    return Placed(task.number, counts[:, : len(vocabulary)])


def _runs(marked: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return where runs of marked documents begin and end."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], marked, [False]))))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _write_at(path: Path, runs: Iterable[TokenArray], start_tokens: int) -> None:
    with path.open("r+b") as file:
        file.seek(start_tokens * _TOKEN_BYTES)
        file.writelines(run.data for run in runs)
