"""Make the shards of a data set with workers, in any order; a worker may die.

A shard does not know the others. So its density tokens are placeholders, since density levels
depend on all training windows, and its pieces may be duplicates of pieces in other shards. `scan`
finds the duplicates and the levels, `write` puts the levels in.
"""

import dataclasses
import gc
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import RawIOBase
from pathlib import Path

import numpy as np
import numpy.typing as npt

from megatron_music.data.records import KEPT, Refusal
from megatron_music.data.settings import BuildSettings
from megatron_music.data.shards.encode_midi import encode_batch
from megatron_music.data.shards.encode_piece import (
    EncodedPiece,
    encode_item,
    refused,
    with_hidden_bars,
    with_labels,
)
from megatron_music.data.shards.shard_file import write_shard
from megatron_music.data.sources.item import Item, ReadOnce, digests, hashed, with_words
from megatron_music.data.workers.limits import (
    LONGEST_ITEM_S,
    MOST_ITEM_BYTES,
    WorkerDied,
    memory_limit,
    time_limit,
    uncollected,
)
from megatron_music.data.workers.local import Workers
from megatron_music.errors import DataError
from megatron_music.progress import Progress
from megatron_music.tokenizer.vocabulary import Vocabulary, vocabulary_of

TOGETHER = -1
"""In place of a position: some piece of the shard's batch is broken, it is not known which."""

_POSITION_BYTES = 8
_UNEXPLAINED_DEATHS = 3  # in a row: more is a machine short of memory, not a hostile file
_SHARD_OF_ITEMS = 10  # a whole shard takes seconds; compiling, where it has to be, a minute
_MUCH_GARBAGE = 100_000


@dataclass(frozen=True)
class Task:
    """A shard to be made: its file, items and settings; the items at `broken` are not read.

    `labels` [pieces, families] are indices of the attributes of the settings, None for none.
    """

    path: Path
    items: Sequence[Item]
    settings: BuildSettings
    broken: frozenset[int] = frozenset()
    longest_item_s: float = LONGEST_ITEM_S
    most_item_bytes: int = MOST_ITEM_BYTES
    labels: npt.NDArray[np.int64] | None = None

    @property
    def marker(self) -> Path:
        """The file that says which piece is being read; it stays there if the worker dies."""
        return self.path.with_suffix(".at")


def encode_shard(task: Task) -> int:
    """Write a shard and return how many pieces it holds."""
    vocabulary = vocabulary_of(task.settings.tokenizer())
    items = hashed(task.items)
    gc.freeze()  # the compiler alone has half a million objects, which stay
    with uncollected(), task.marker.open("wb", buffering=0) as marker:
        encoded = _encode_all(dataclasses.replace(task, items=items), vocabulary, marker)
        if gc.get_count()[0] > _MUCH_GARBAGE:  # music21's, not that of files read by kernels
            gc.collect()
    # The shard first: a marker without a shard means that the process died.
    write_shard(task.path, encoded, digests(items))
    task.marker.unlink(missing_ok=True)
    return len(task.items)


def _encode_all(task: Task, vocabulary: Vocabulary, marker: RawIOBase) -> list[EncodedPiece]:
    """Encode files that the kernels can handle as a batch, and other pieces one by one."""
    sure: dict[int, EncodedPiece] = {}
    # A file that ends its process would do so again in a batch. One that takes too much memory is
    # found when the pieces are encoded one by one.
    if not task.broken:
        with (
            suppress(MemoryError),
            time_limit(_SHARD_OF_ITEMS * task.longest_item_s),
            memory_limit(task.most_item_bytes),
        ):
            sure = dict(encode_batch(task.items, task.settings))
    encoded = []
    for position, item in enumerate(task.items):
        known = sure.get(position)
        if known is None or task.settings.quality:
            marker.seek(0)
            marker.write(position.to_bytes(_POSITION_BYTES, "little"))
            known = _encode_one(task, position, item, vocabulary, known)
        # In whole pieces, bars are hidden while windows are drawn.
        hides = task.settings.fill and not task.settings.pieces
        if hides and len(known.documents.lengths):
            known = with_hidden_bars(known, task.settings, vocabulary)
        if task.labels is not None:
            known = with_labels(known, vocabulary.attribute + task.labels[position])
        encoded.append(known)
    return encoded


def _try_item(task: Task, position: int) -> None:
    """Encode one piece, only to see whether it ends the process."""
    _encode_one(task, position, task.items[position], vocabulary_of(task.settings.tokenizer()))


def _encode_one(
    task: Task, position: int, item: Item, vocabulary: Vocabulary, known: EncodedPiece | None = None
) -> EncodedPiece:
    """Encode a piece, unless `known` has it, and check its quality if the settings say so."""
    if position in task.broken:
        detail = f"ended its worker, or took over {task.longest_item_s:g} s"
        return refused(item.name, "crashed", detail)
    item = ReadOnce(with_words(item) if task.settings.lyrics else item)
    try:
        with time_limit(task.longest_item_s), memory_limit(task.most_item_bytes):
            made = known or encode_item(item, task.settings, vocabulary)
            if not task.settings.quality or made.record.outcome != KEPT:
                return made
            from megatron_music.data.shards.quality import check_quality, sketch

            score = item.read()
            check_quality(score, task.settings.steps_per_quarter)
            # Near duplicates are found by it.
            return made._replace(sketch=sketch(score))
    except Refusal as refusal:
        return refused(item.name, refusal.reason, str(refusal))
    except MemoryError:
        detail = f"took over {task.most_item_bytes >> 20} MB of memory"
        return refused(item.name, "memory", detail)


def encode_shards(tasks: Sequence[Task], workers: Workers, progress: Progress) -> Iterator[Task]:
    """Make all missing shards; give each shard as soon as it and all before it are complete.

    `progress` counts pieces. If a piece ends the worker that reads it, the piece is refused and the
    others of its shard are read again. With one local worker, which is this process, it ends the
    program. Raises DataError if workers keep dying and no piece is found that does it again.
    """
    following = 0
    for _ in _make_missing(tasks, workers, progress):
        while following < len(tasks) and tasks[following].path.exists():
            yield tasks[following]
            following += 1


def _make_missing(tasks: Sequence[Task], workers: Workers, progress: Progress) -> Iterator[None]:
    """Make all shards that are missing; yield whenever there may be a new one."""
    # Markers of a build that was killed do not mean that a piece is at fault.
    for task in tasks:
        task.marker.unlink(missing_ok=True)
    total = sum(len(task.items) for task in tasks)
    broken: dict[int, set[int]] = defaultdict(set)
    unexplained = 0
    while True:
        done = sum(len(task.items) for task in tasks if task.path.exists())
        pending = [
            dataclasses.replace(task, broken=frozenset(broken[shard]))
            for shard, task in enumerate(tasks)
            if not task.path.exists()
        ]
        progress(done, total)
        yield
        try:
            for pieces in workers.run(encode_shard, pending):
                done += pieces
                progress(done, total)
                yield
        except WorkerDied:
            pass
        else:
            return
        # The pool says only that one of its processes died; the markers say which pieces were read.
        found = False
        for shard, task in enumerate(tasks):
            position = _deadly_position(task, workers)
            if position is not None and position not in broken[shard]:
                broken[shard].add(position)
                found = True
        unexplained = 0 if found else unexplained + 1
        if unexplained == _UNEXPLAINED_DEATHS:
            raise DataError(
                "worker processes keep dying, and no file does it by itself; "
                "memory may be short: use fewer --workers"
            )


def _deadly_position(task: Task, workers: Workers) -> int | None:
    """Return the position of the piece in an unfinished shard that ends its worker; None for none.

    TOGETHER if many were encoded as a batch: they are encoded one by one in the next attempt.
    """
    try:
        written = task.marker.read_bytes()
    except OSError:  # no worker was reading this shard
        return None
    task.marker.unlink(missing_ok=True)
    if task.path.exists():
        return None
    if len(written) < _POSITION_BYTES:
        return TOGETHER
    position = int.from_bytes(written[:_POSITION_BYTES], "little")
    # The piece is tried alone: something else may have killed the process, such as full memory.
    return None if workers.survives(partial(_try_item, task), position) else position
