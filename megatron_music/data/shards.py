"""One worker's share of a data set: some pieces of the source, encoded into one file.

A shard does not know the other shards: its density tokens are placeholders (their levels are cut
from all training windows, once these are known) and music that stands in another shard too is
still in it. `join.py` settles both.
"""

import dataclasses
import gc
from collections.abc import Sequence
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path

import numpy as np
import numpy.typing as npt

from megatron_music.data.documents import encode_item
from megatron_music.data.encoded import (
    Encoded,
    as_encoded,
    with_hidden_bars,
    with_labels,
    with_window_rates,
)
from megatron_music.data.gc_utils import uncollected
from megatron_music.data.items import Item, ReadOnce, digests, noted
from megatron_music.data.limits import LONGEST_ITEM_S, MOST_ITEM_BYTES, modest, mortal
from megatron_music.data.outcomes import KEPT, REFUSED, Outcome
from megatron_music.data.refusal import Refusal
from megatron_music.data.settings import BuildSettings
from megatron_music.data.shard_file import write_shard
from megatron_music.data.together import encode_together
from megatron_music.tokenizer.vocabulary import Vocabulary, vocabulary_of

TOGETHER = -1
"""Where this is among the broken, pieces are encoded one by one, to see which of them it is."""

_POSITION_BYTES = 8
_SHARD_OF_ITEMS = 10  # a whole shard takes seconds; compiling, where it has to be, a minute
_MUCH_GARBAGE = 100_000


@dataclass(frozen=True)
class Task:
    """A shard to be made: where, of what, and how; the pieces at `broken` are not touched.

    `labels` [pieces, families] are places among the attributes of the settings, None for none.
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
        """The file that says which piece is being read: what a dead worker leaves behind."""
        return self.path.with_suffix(".at")


def encode_shard(task: Task) -> int:
    """Write a shard and return how many pieces it holds."""
    vocabulary = vocabulary_of(task.settings.tokenizer())
    items = noted(task.items)
    gc.freeze()  # the compiler alone has half a million objects, which stay
    with uncollected(), task.marker.open("wb", buffering=0) as marker:
        encoded = _encode(dataclasses.replace(task, items=items), vocabulary, marker)
        if gc.get_count()[0] > _MUCH_GARBAGE:  # music21's, not that of files read by kernels
            gc.collect()
    write_shard(task.path, encoded, digests(items))
    task.marker.unlink(missing_ok=True)
    return len(task.items)


def _encode(task: Task, vocabulary: Vocabulary, marker: RawIOBase) -> list[Encoded]:
    """Encode what the kernels are sure of at once, and the rest piece by piece."""
    sure = {} if task.broken else _sure(task)
    encoded = []
    for position, item in enumerate(task.items):
        known = sure.get(position)
        if known is None or task.settings.quality:
            marker.seek(0)
            marker.write(position.to_bytes(_POSITION_BYTES, "little"))
            known = _encoded(task, position, item, vocabulary, known)
        if task.settings.pieces and len(known.lengths):
            known = with_window_rates(known, task.settings, vocabulary)
        elif task.settings.fill and len(known.lengths):
            known = with_hidden_bars(known, task.settings, vocabulary)
        if task.labels is not None:
            known = with_labels(known, vocabulary.attribute + task.labels[position])
        encoded.append(known)
    return encoded


def _sure(task: Task) -> dict[int, Encoded]:
    """Encode at once what the kernels are sure of; nothing where that takes too much memory."""
    try:
        with mortal(_SHARD_OF_ITEMS * task.longest_item_s), modest(task.most_item_bytes):
            return dict(encode_together(task.items, task.settings))
    except MemoryError:
        return {}


def position_of_death(task: Task) -> int | None:
    """Return the position of the piece at which a worker of this task died, if one did.

    TOGETHER is that of no piece: many were being encoded at once.
    """
    try:
        written = task.marker.read_bytes()
    except OSError:
        return None
    if len(written) < _POSITION_BYTES:
        return TOGETHER
    return int.from_bytes(written[:_POSITION_BYTES], "little")


def try_item(task: Task, position: int) -> None:
    """Encode one piece for nothing: to see whether it ends the process."""
    _encoded(task, position, task.items[position], vocabulary_of(task.settings.tokenizer()))


def _encoded(
    task: Task, position: int, item: Item, vocabulary: Vocabulary, known: Encoded | None = None
) -> Encoded:
    """Encode a piece, unless that is `known`, and look at its quality where that is asked for."""
    if position in task.broken:
        detail = f"ended its worker, or took over {task.longest_item_s:g} s"
        return as_encoded(Outcome(item.name, REFUSED, "crashed", detail), [])
    item = ReadOnce(item)
    try:
        with mortal(task.longest_item_s), modest(task.most_item_bytes):
            made = known or as_encoded(*encode_item(item, task.settings, vocabulary))
            if task.settings.quality and made.outcome.outcome == KEPT:
                return _with_sketch(made, item, task.settings)
            return made
    except MemoryError:
        detail = f"took over {task.most_item_bytes >> 20} MB of memory"
        return as_encoded(Outcome(item.name, REFUSED, "memory", detail), [])


def _with_sketch(piece: Encoded, item: Item, settings: BuildSettings) -> Encoded:
    """Add what near duplicates of a piece are found by, or leave the piece out for its quality."""
    from megatron_music.data.quality import check_quality, sketch

    score = item.read()
    try:
        check_quality(score, settings.steps_per_quarter)
    except Refusal as refusal:
        return as_encoded(Outcome(item.name, REFUSED, refusal.reason, str(refusal)), [])
    return piece._replace(sketch=sketch(score))
