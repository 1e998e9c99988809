"""The file of a shard: some encoded pieces of a source, as columns."""

import json
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from megatron_music.data.records import KEPT, REFUSED, line
from megatron_music.data.settings import SPLITS
from megatron_music.data.shards.encode_piece import EncodedPiece
from megatron_music.data.shards.near_duplicates import Signatures
from megatron_music.errors import DataError
from megatron_music.files import atomic_write
from megatron_music.tokenizer.document_columns import DocumentColumns, Rates, concatenated

NO_SPLIT = -1
FINGERPRINT_BYTES = 16
_NO_FINGERPRINT = "00" * FINGERPRINT_BYTES
_OF_PIECES = ("splits", "ensemble", "bars", "owner", "window_rates", "window_counts", "sketches")
_OF_BYTES = ("lines", "fingerprints", "digests", "about")


@dataclass(frozen=True)
class Shard:
    """The pieces of a shard and their documents, without the tokens.

    For each piece: `lines` of `files.jsonl`; `splits`, the index of its split or NO_SPLIT (int8);
    `fingerprints`, FINGERPRINT_BYTES each; `ensemble`, the index of its instruments in `ensembles`
    (int32); `digests`, the hash of its input (see `item.digests`); `bars` (int32).
    For each document: `owner`, the index of its piece (int32).
    For whole pieces: `window_rates`, a rate for each track of each window, and `window_counts`, the
    number of rates of each piece (int32).
    `sketches` has PERMUTATIONS numbers for each kept piece, or is empty. `refused` counts reasons.
    """

    lines: bytes
    splits: npt.NDArray[np.int8]
    fingerprints: bytes
    ensemble: npt.NDArray[np.int32]
    ensembles: list[tuple[str, ...]]
    digests: bytes
    bars: npt.NDArray[np.int32]
    documents: DocumentColumns
    owner: npt.NDArray[np.int32]
    window_rates: Rates
    window_counts: npt.NDArray[np.int32]
    sketches: Signatures
    refused: Counter[str]

    def fingerprint(self, position: int) -> bytes:
        """Return the fingerprint of a piece."""
        start = position * FINGERPRINT_BYTES
        return self.fingerprints[start : start + FINGERPRINT_BYTES]


def write_shard(path: Path, pieces: Sequence[EncodedPiece], digests: bytes) -> None:
    """Write the pieces of a shard; raises WriteError."""
    records = [piece.record for piece in pieces]
    splits = {name: index for index, name in enumerate(SPLITS)}
    # Most pieces have the instruments of others: a number each, instead of a tuple.
    ensembles = dict.fromkeys(record.instruments for record in records)
    numbers = {instruments: number for number, instruments in enumerate(ensembles)}
    refused = Counter(record.reason for record in records if record.outcome == REFUSED)
    fingerprints = "".join(record.fingerprint or _NO_FINGERPRINT for record in records)
    counts = [len(piece.documents.lengths) for piece in pieces]
    columns: dict[str, npt.NDArray[Any]] = {
        "lines": _as_bytes(b"".join(map(line, records))),
        "splits": np.array(
            [splits[of.split] if of.outcome == KEPT else NO_SPLIT for of in records], np.int8
        ),
        "fingerprints": _as_bytes(bytes.fromhex(fingerprints)),
        "ensemble": np.array([numbers[record.instruments] for record in records], np.int32),
        "about": _as_bytes(json.dumps([list(ensembles), refused]).encode()),
        "digests": _as_bytes(digests),
        "bars": np.array([record.bars for record in records], np.int32),
        "owner": np.repeat(np.arange(len(pieces), dtype=np.int32), counts),
        "window_rates": np.concatenate([piece.window_rates for piece in pieces]),
        "window_counts": np.array([len(piece.window_rates) for piece in pieces], np.int32),
        "sketches": np.concatenate([piece.sketch for piece in pieces]),
        **concatenated([piece.documents for piece in pieces])._asdict(),
    }
    write_columns(path, columns)


def _as_bytes(text: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(text, np.uint8)


def read_shard(path: Path) -> Shard:
    """Read a finished shard without its tokens; raises DataError if it has been damaged."""
    # The tokens are most of the file, and the scan does not need them.
    of_documents = [name for name in DocumentColumns._fields if name != "tokens"]
    columns = read_columns(path, (*_OF_PIECES, *_OF_BYTES, *of_documents))
    values: dict[str, Any] = {name: columns[name] for name in _OF_PIECES}
    values |= {name: columns[name].tobytes() for name in _OF_BYTES}
    ensembles, refused = json.loads(values.pop("about"))
    return Shard(
        ensembles=[tuple(instruments) for instruments in ensembles],
        refused=Counter(refused),
        documents=DocumentColumns(
            tokens=np.zeros(0, np.uint16), **{name: columns[name] for name in of_documents}
        ),
        **values,
    )


def read_documents(path: Path) -> tuple[DocumentColumns, npt.NDArray[np.int32]]:
    """Read the documents of a finished shard and the index of the piece of each.

    Raises DataError if the file has been damaged.
    """
    columns = read_columns(path, (*DocumentColumns._fields, "owner"))
    owner = columns.pop("owner")
    return DocumentColumns(**columns), owner


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
    """Read the next array of a file, or pass it."""
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
