"""Where the documents of a data set are in their pieces: `{train,valid,test}.places.npy`.

Rows of int32 in the order of the `.idx`: the bars of the piece before the document's first bar, and
the bars of the whole piece; UNKNOWN where a data set does not tell.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from megatron_music.errors import DataError

Places = npt.NDArray[np.int32]
"""[documents, 2]: bars of the piece before the document, bars of the piece."""

PLACES_SUFFIX = ".places.npy"
UNKNOWN = -1


def write_places(raw: Path, prefix: Path) -> Path:
    """Write the `.places.npy` of a prefix from a file of its rows alone; remove that file.

    Returns where the places are.
    """
    path = prefix.with_name(prefix.name + PLACES_SUFFIX)
    mapped = np.memmap(raw, np.int32, "r") if raw.stat().st_size else np.zeros(0, np.int32)
    with path.open("wb") as file:
        np.save(file, mapped.reshape(-1, 2), allow_pickle=False)
    raw.unlink()
    return path


def load_places(prefix: Path, documents: int | None = None) -> Places | None:
    """Return the places of a data set's documents, memory-mapped; None where it has none.

    `prefix` is that of the `.bin/.idx` pair, `documents` how many are expected. Raises DataError
    for a damaged file or another number of rows.
    """
    path = prefix.with_name(prefix.name + PLACES_SUFFIX)
    if not path.is_file():
        return None
    try:
        places: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as fault:
        raise DataError(f"{path} is damaged ({fault}); build the data set again") from None
    rows = places.shape[0] if documents is None and places.ndim == 2 else documents
    if places.dtype != np.int32 or places.shape != (rows, 2):
        raise DataError(
            f"{path} holds {places.dtype} of shape {places.shape}, expected int32 of shape "
            f"({'documents' if documents is None else documents}, 2); build the data set again"
        )
    return places
