"""Arrays in one file: a line of JSON that names them, then their bytes, each with its checksum."""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from megatron_music.errors import DataError
from megatron_music.files import atomic_write

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
