"""Write finished shards into the `.bin` and `.idx` files; workers write each at its place."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from megatron_music.data.indexed import write_index_of
from megatron_music.data.settings import SPLITS
from megatron_music.data.shards.scan import LENGTHS_SUFFIX, RAW_PLACES_SUFFIX, DatasetPlan, Share
from megatron_music.data.shards.shard_file import read_documents
from megatron_music.data.workers.limits import WorkerDied
from megatron_music.data.workers.local import Workers
from megatron_music.errors import DataError
from megatron_music.files import sha256_of
from megatron_music.progress import Progress
from megatron_music.tokenizer.places_in_piece import write_places
from megatron_music.tokenizer.vocabulary import (
    DENSITY_LEVELS,
    TokenizerSettings,
    vocabulary_of,
)

Counts = npt.NDArray[np.int64]

_TOKEN_BYTES = 2
_TOKEN_IDS = 1 << 16
_HASHED_BYTES = 1 << 18  # at once: fits into the cache of a core


def write_tokens(
    found: DatasetPlan, workers: Workers, progress: Progress
) -> tuple[dict[str, Counts], dict[str, str]]:
    """Write `{train,valid,test}.{bin,idx,places.npy}` into the scan's folder; raises DataError.

    Returns how often each token occurs in each split, and the sha256 of each file.
    """
    folder = found.folder
    for name, split in found.splits.items():
        # At its full size from the start: several processes write shards into it, in any order.
        with (folder / f"{name}.bin").open("wb") as file:
            file.truncate(split.tokens * _TOKEN_BYTES)
    total = np.zeros((len(SPLITS), len(vocabulary_of(found.tokenizer))), np.int64)
    ends = [share.starts_tokens for share in found.shares[1:]]
    ends.append(tuple(split.tokens for split in found.splits.values()))
    digests: dict[str, str] = {}
    written = _written(workers, found, total, digests)
    with ExitStack() as stack:
        hashes = [stack.enter_context(_RunningHash(folder / f"{name}.bin")) for name in SPLITS]
        # Hashed while it is written: reading it again later would cost a pass over the disk.
        for done, number in enumerate(written, 1):
            for running, end in zip(hashes, ends[number], strict=True):
                running.upto(end * _TOKEN_BYTES)
            progress(done, len(found.shares))
        for name, running in zip(SPLITS, hashes, strict=True):
            digests[f"{name}.bin"] = running.hexdigest()
    return dict(zip(SPLITS, total, strict=True)), digests


def _written(
    workers: Workers, found: DatasetPlan, total: Counts, digests: dict[str, str]
) -> Iterator[int]:
    """Have the workers write the indices of all splits, and all shards.

    Give the numbers of the shards in ascending order, each once it and all before it are written.
    The counts of tokens are added to `total`, the hashes of indices to `digests`.
    """
    waiting: set[int] = set()
    following = 0
    try:
        work = partial(_write_part, found.folder, found.tokenizer)
        for result in workers.run(work, (*SPLITS, *enumerate(found.shares))):
            if isinstance(result, dict):
                digests.update(result)
                continue
            number, counts = result
            total += counts
            waiting.add(number)
            while following in waiting:
                waiting.remove(following)
                yield following
                following += 1
    except WorkerDied:
        raise DataError(
            "a worker process ended while it wrote; memory may be short: use fewer --workers, "
            "the same command resumes from what is saved"
        ) from None


class _RunningHash:
    """The sha256 of a file that grows; what was just written is read from memory, not the disk."""

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
        """Hash the file up to a place."""
        while self._done_bytes < end_bytes:
            part = self._buffer[: end_bytes - self._done_bytes]
            size = os.preadv(self._descriptor, [part], self._done_bytes)
            self._sha256.update(part[:size])
            self._done_bytes += size

    def hexdigest(self) -> str:
        """Return the hash of the file so far."""
        return self._sha256.hexdigest()


def _write_part(
    folder: Path, tokenizer: TokenizerSettings, part: str | tuple[int, Share]
) -> dict[str, str] | tuple[int, Counts]:
    """Write the indices of a split and return their hashes, or a shard: its number and counts."""
    if isinstance(part, str):
        prefix = folder / part
        written = (
            write_index_of(prefix.with_name(prefix.name + LENGTHS_SUFFIX)),
            write_places(prefix.with_name(prefix.name + RAW_PLACES_SUFFIX), prefix),
        )
        return {path.name: sha256_of(path) for path in written}
    number, share = part
    return number, _write_tokens_of(share, tokenizer, folder)


def _write_tokens_of(share: Share, tokenizer: TokenizerSettings, folder: Path) -> Counts:
    """Write the tokens of a shard at their places; return how often each occurs in each split."""
    from megatron_music.data.shards.density_kernel import settle

    vocabulary = vocabulary_of(tokenizer)
    documents, owner = read_documents(share.shard)
    splits = share.splits[owner]
    counts = np.zeros((len(SPLITS), _TOKEN_IDS), np.int64)
    edges = np.array(vocabulary.settings.density_edges, np.float64)
    # Without density tokens no id counts as one.
    levels = DENSITY_LEVELS if vocabulary.settings.density else 0
    settle(documents, splits, edges, np.uint16(vocabulary.density), np.uint16(levels), counts)
    tokens = documents.tokens
    ends = np.concatenate(([0], np.cumsum(documents.lengths, dtype=np.int64)))
    for number, name in enumerate(SPLITS):
        # Where runs of documents of this split begin and end: whole pieces, so they are few.
        marked = np.concatenate(([False], splits == number, [False]))
        edges_of_runs = np.flatnonzero(np.diff(marked)).reshape(-1, 2).tolist()
        runs = [tokens[ends[first] : ends[last]] for first, last in edges_of_runs]
        with (folder / f"{name}.bin").open("r+b") as file:
            file.seek(share.starts_tokens[number] * _TOKEN_BYTES)
            file.writelines(run.data for run in runs)
    return counts[:, : len(vocabulary)]
