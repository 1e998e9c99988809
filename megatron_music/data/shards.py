"""One worker's share of a data set: some pieces of the source, encoded into one file.

A shard does not know the other shards: its density tokens are placeholders (their levels are cut
from all training windows, once these are known) and music that stands in another shard too is
still in it. `join.py` settles both.
"""

import dataclasses
import gc
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from megatron_music.data.documents import REFUSED, Document, Outcome, Rates, encode_item
from megatron_music.data.items import DIGEST_BYTES, Item, digests, noted
from megatron_music.data.limits import LONGEST_ITEM_S, MOST_ITEM_BYTES, modest, mortal
from megatron_music.data.settings import BuildSettings
from megatron_music.data.together import Encoded, as_encoded, encode_together
from megatron_music.errors import DataError
from megatron_music.files import complete
from megatron_music.tokenizer.vocabulary import TokenArray, Vocabulary

_POSITION_BYTES = 8
_MUCH_GARBAGE = 100_000


@dataclass(frozen=True)
class Task:
    """A shard to be made: where, of what, and how; the pieces at `broken` are not touched."""

    path: Path
    items: Sequence[Item]
    settings: BuildSettings
    broken: frozenset[int] = frozenset()
    longest_item_s: float = LONGEST_ITEM_S
    most_item_bytes: int = MOST_ITEM_BYTES

    @property
    def marker(self) -> Path:
        """The file that says which piece is being read: what a dead worker leaves behind."""
        return self.path.with_suffix(".at")


@dataclass(frozen=True)
class Shard:
    """The encoded pieces of a shard.

    `tokens` holds the documents one after another, `lengths` their lengths and `owner` the index
    of the outcome that each belongs to. `rates` has one figure for each track of each document,
    `tracks` says how many a document has. `digests` has a row for each outcome: see `items.py`.
    """

    outcomes: list[Outcome]
    tokens: TokenArray
    lengths: npt.NDArray[np.int32]
    owner: npt.NDArray[np.int32]
    rates: Rates
    tracks: npt.NDArray[np.int32]
    digests: npt.NDArray[np.uint8]


def encode_shard(task: Task) -> int:
    """Write a shard and return how many pieces it holds."""
    vocabulary = Vocabulary(task.settings.tokenizer())
    items = noted(task.items)
    with _uncollected(), task.marker.open("wb", buffering=0) as marker:
        encoded = _encode(dataclasses.replace(task, items=items), vocabulary, marker)
    _write(task.path, encoded, digests(items))
    task.marker.unlink(missing_ok=True)
    return len(task.items)


def _encode(task: Task, vocabulary: Vocabulary, marker: RawIOBase) -> list[Encoded]:
    """Encode what the kernels are sure of at once, and the rest piece by piece."""
    sure = {} if task.broken else _sure(task)
    encoded = []
    for position, item in enumerate(task.items):
        known = sure.get(position)
        if known is None:
            marker.seek(0)
            marker.write(position.to_bytes(_POSITION_BYTES, "little"))
            known = as_encoded(*_encoded(task, position, item, vocabulary))
        encoded.append(known)
    return encoded


def _sure(task: Task) -> dict[int, Encoded]:
    """Encode at once what the kernels are sure of; nothing where that takes too much memory."""
    try:
        with modest(task.most_item_bytes):
            return dict(encode_together(task.items, task.settings))
    except MemoryError:
        return {}


def position_of_death(task: Task) -> int | None:
    """Return the position of the piece at which a worker of this task died, if one did."""
    try:
        return int.from_bytes(task.marker.read_bytes()[:_POSITION_BYTES], "little")
    except OSError:
        return None


def try_item(task: Task, position: int) -> None:
    """Encode one piece for nothing: to see whether it ends the process."""
    _encoded(task, position, task.items[position], Vocabulary(task.settings.tokenizer()))


def _encoded(
    task: Task, position: int, item: Item, vocabulary: Vocabulary
) -> tuple[Outcome, list[Document]]:
    if position in task.broken:
        detail = f"ended its worker, or took over {task.longest_item_s:g} s"
        return Outcome(item.name, REFUSED, "crashed", detail), []
    try:
        with mortal(task.longest_item_s), modest(task.most_item_bytes):
            return encode_item(item, task.settings, vocabulary)
    except MemoryError:
        detail = f"took over {task.most_item_bytes >> 20} MB of memory"
        return Outcome(item.name, REFUSED, "memory", detail), []


@contextmanager
def _uncollected() -> Iterator[None]:
    """Hold the garbage collector back for a shard: it would take a third of music21's time.

    What was there before stays frozen: the compiler alone has half a million objects for good.
    """
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        if gc.get_count()[0] > _MUCH_GARBAGE:  # music21's, not that of files read by kernels
            gc.collect()
        gc.enable()


def _write(path: Path, encoded: list[Encoded], read: bytes) -> None:
    text = json.dumps([vars(piece.outcome) for piece in encoded]).encode()
    counts = [len(piece.lengths) for piece in encoded]
    columns = {
        "outcomes": np.frombuffer(text, np.uint8),
        "tokens": np.concatenate([piece.tokens for piece in encoded]),
        "lengths": np.concatenate([piece.lengths for piece in encoded]),
        "owner": np.repeat(np.arange(len(encoded), dtype=np.int32), counts),
        "rates": np.concatenate([piece.rates for piece in encoded]),
        "tracks": np.concatenate([piece.tracks for piece in encoded]),
        "digests": np.frombuffer(read, np.uint8).reshape(-1, DIGEST_BYTES),
    }
    # Not forced to the disk: a kill leaves it whole, and what a power cut damages is found out.
    with complete(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **columns)


def read_shard(path: Path, with_tokens: bool = True) -> Shard:
    """Read a finished shard, or all but its tokens; raises DataError if it has been damaged."""
    try:
        with np.load(path, allow_pickle=False) as columns:
            chosen = [name for name in columns.files if with_tokens or name != "tokens"]
            values = {name: columns[name] for name in chosen}
        values.setdefault("tokens", np.zeros(0, np.uint16))
        outcomes = [Outcome(**fields) for fields in json.loads(values.pop("outcomes").tobytes())]
        return Shard(outcomes, **values)
    except (OSError, ValueError, TypeError, KeyError, EOFError, BadZipFile) as fault:
        raise DataError(f"{path} is damaged ({fault}); delete it and build again") from None
