"""The file of a shard: the pieces of one worker's share, encoded, as columns."""

import json
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from megatron_music.data.encoding.density_kernel import Documents
from megatron_music.data.encoding.encode import Encoded, Rates
from megatron_music.data.encoding.minhash import Signatures
from megatron_music.data.encoding.records import KEPT, REFUSED, line
from megatron_music.data.settings import SPLITS
from megatron_music.errors import DataError
from megatron_music.files import atomic_write

NO_SPLIT = -1
FINGERPRINT_BYTES = 16
_NO_FINGERPRINT = "00" * FINGERPRINT_BYTES
_ALL_BUT_TOKENS = (
    *("lines", "splits", "fingerprints", "ensemble", "about", "digests", "bars"),
    *("lengths", "owner", "first_bars", "tracks", "rates", "window_rates", "window_counts"),
    "sketches",
)


@dataclass(frozen=True)
class Shard:
    """The pieces of a shard, all but their tokens.

    Of each piece: its line of `files.jsonl`, in `splits` the index of its split or NO_SPLIT (int8),
    FINGERPRINT_BYTES of `fingerprints`, in `ensemble` the index of its instruments in `ensembles`
    (int32), in `digests` what it was read from (see `items.py`), and its `bars` (int32). Of each
    document: `lengths` in tokens and `owner`, the piece it is of, in `first_bars` the bars of that
    piece before it, and how many `tracks` it has (int32). Of each track of each document its
    `rates`; where documents are whole pieces, of each track of each of their windows
    `window_rates`, and of each piece how many these are in `window_counts` (int32). `sketches`
    has PERMUTATIONS numbers of each piece that was kept, or none. `refused` counts reasons.
    """

    lines: bytes
    splits: npt.NDArray[np.int8]
    fingerprints: bytes
    ensemble: npt.NDArray[np.int32]
    ensembles: list[tuple[str, ...]]
    digests: bytes
    bars: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int32]
    owner: npt.NDArray[np.int32]
    first_bars: npt.NDArray[np.int32]
    tracks: npt.NDArray[np.int32]
    rates: Rates
    window_rates: Rates
    window_counts: npt.NDArray[np.int32]
    sketches: Signatures
    refused: Counter[str]

    def fingerprint(self, position: int) -> bytes:
        """Return the fingerprint of a piece."""
        start = position * FINGERPRINT_BYTES
        return self.fingerprints[start : start + FINGERPRINT_BYTES]


def write_shard(path: Path, pieces: Sequence[Encoded], digests: bytes) -> None:
    """Write the pieces of a shard; raises WriteError."""
    outcomes = [piece.outcome for piece in pieces]
    splits = {name: index for index, name in enumerate(SPLITS)}
    # Most pieces have the instruments of others: a number each, instead of a tuple.
    ensembles = {outcome.instruments: 0 for outcome in outcomes}
    ensembles = {instruments: index for index, instruments in enumerate(ensembles)}
    refused = Counter(outcome.reason for outcome in outcomes if outcome.outcome == REFUSED)
    fingerprints = "".join(outcome.fingerprint or _NO_FINGERPRINT for outcome in outcomes)
    counts = [len(piece.lengths) for piece in pieces]
    columns: dict[str, npt.NDArray[Any]] = {
        "lines": _as_bytes(b"".join(map(line, outcomes))),
        "splits": np.array(
            [splits[of.split] if of.outcome == KEPT else NO_SPLIT for of in outcomes], np.int8
        ),
        "fingerprints": _as_bytes(bytes.fromhex(fingerprints)),
        "ensemble": np.array([ensembles[outcome.instruments] for outcome in outcomes], np.int32),
        "about": _as_bytes(json.dumps([list(ensembles), refused]).encode()),
        "digests": _as_bytes(digests),
        "bars": np.array([outcome.bars for outcome in outcomes], np.int32),
        "lengths": np.concatenate([piece.lengths for piece in pieces]),
        "owner": np.repeat(np.arange(len(pieces), dtype=np.int32), counts),
        "first_bars": np.concatenate([piece.first_bars for piece in pieces]),
        "tracks": np.concatenate([piece.tracks for piece in pieces]),
        "rates": np.concatenate([piece.rates for piece in pieces]),
        "window_rates": np.concatenate([piece.window_rates for piece in pieces]),
        "window_counts": np.array([len(piece.window_rates) for piece in pieces], np.int32),
        "sketches": np.concatenate([piece.sketch for piece in pieces]),
        "tokens": np.concatenate([piece.tokens for piece in pieces]),
    }
    write_columns(path, columns)


def _as_bytes(text: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(text, np.uint8)


def read_shard(path: Path) -> Shard:
    """Read a finished shard without its tokens; raises DataError if it has been damaged."""
    values: dict[str, Any] = dict(read_columns(path, _ALL_BUT_TOKENS))
    ensembles, refused = json.loads(values.pop("about").tobytes())
    return Shard(
        lines=values.pop("lines").tobytes(),
        fingerprints=values.pop("fingerprints").tobytes(),
        ensembles=[tuple(instruments) for instruments in ensembles],
        refused=Counter(refused),
        digests=values.pop("digests").tobytes(),
        **values,
    )


def read_documents(path: Path) -> Documents:
    """Read the documents of a finished shard; raises DataError if it has been damaged."""
    return Documents(**read_columns(path, Documents._fields))


_MAGIC = "megatron_music columns 1"


def write_columns(path: Path, columns: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays of one dimension, in their order, into a file; raises WriteError."""
    whole = {name: np.ascontiguousarray(column) for name, column in columns.items()}
    about = {
        name: [column.dtype.str, len(column), _checksum(column)] for name, column in whole.items()
    }
    # Not forced to the disk: a kill leaves it whole, and what a power cut damages is found out.
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.write(json.dumps([_MAGIC, about]).encode() + b"\n")
        for column in whole.values():
            file.write(column.data)


def read_columns(path: Path, names: Collection[str]) -> dict[str, npt.NDArray[Any]]:
    """Read some of the arrays of a file; raises DataError if it has been damaged."""
    try:
        with path.open("rb") as file:
            _, about = json.loads(file.readline())
            read = {name: _column(file, name in names, *kind) for name, kind in about.items()}
        return {name: read[name] for name in names}
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as fault:
        raise DataError(f"{path} is damaged ({fault}); delete it and build again") from None


def _column(
    file: BinaryIO, wanted: bool, dtype: str, count: int, checksum: str
) -> npt.NDArray[Any]:
    """Read the array that stands at this place of a file, or pass it."""
    # The scan passes the tokens, which are most of the file.
    if not wanted:
        file.seek(count * np.dtype(dtype).itemsize, os.SEEK_CUR)
        return np.zeros(0, dtype)
    column = np.fromfile(file, dtype, count)
    if _checksum(column) != checksum:
        raise ValueError("it does not hold what was written")
    return column


def _checksum(column: npt.NDArray[Any]) -> str:
    from xxhash import xxh3_64_hexdigest

    return str(xxh3_64_hexdigest(column.data))
