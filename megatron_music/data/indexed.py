"""Megatron's .bin/.idx format, written without torch.

Mirrors `IndexedDatasetBuilder` of megatron/core/datasets/indexed_dataset.py byte for byte, for
documents of one sequence each: `.bin` holds the tokens one after another, `.idx` a header, the
lengths (int32), the byte offsets (int64) and the document boundaries (int64).
"""

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from megatron_music.errors import DataError
from megatron_music.tokenizer.attributes import families_of
from megatron_music.tokenizer.vocabulary import Vocabulary
from megatron_music.tokenizer.window_draw import Documents, documents_of

MAGIC = b"MMIDIDX\x00\x00"
INDEX_VERSION = 1
_DTYPE_CODES: dict[np.dtype[np.generic], int] = {np.dtype(np.int32): 4, np.dtype(np.uint16): 8}

PART_DOCUMENTS = 1 << 20


def write_index(
    file: BinaryIO, lengths: npt.NDArray[np.int32], dtype: np.dtype[np.generic]
) -> None:
    """Write the `.idx` of documents of these lengths (in tokens), one sequence a document.

    The lengths may be mapped from a file: they are gone through in parts.
    """
    count = len(lengths)
    parts = range(0, count, PART_DOCUMENTS)
    file.write(MAGIC)
    file.write(struct.pack("<QBQQ", INDEX_VERSION, _DTYPE_CODES[dtype], count, count + 1))
    file.writelines(
        lengths[start : start + PART_DOCUMENTS].astype(np.int32).tobytes() for start in parts
    )
    begin_bytes = 0
    # In parts: the index of a large collection has more bytes than a worker may hold.
    for start in parts:
        ends = begin_bytes + np.cumsum(lengths[start : start + PART_DOCUMENTS], dtype=np.int64) * (
            dtype.itemsize
        )
        file.write(np.concatenate(([begin_bytes], ends[:-1])).tobytes())
        begin_bytes = int(ends[-1])
    for start in range(0, count + 1, PART_DOCUMENTS):
        file.write(
            np.arange(start, min(start + PART_DOCUMENTS, count + 1), dtype=np.int64).tobytes()
        )


def write_index_of(lengths: Path, dtype: npt.DTypeLike = np.uint16) -> Path:
    """Write the `.idx` for a file of lengths (int32) of documents, next to it; remove that file.

    Returns where the index is.
    """
    path = lengths.with_suffix(".idx")
    mapped = np.memmap(lengths, np.int32, "r") if lengths.stat().st_size else np.zeros(0, np.int32)
    with path.open("wb") as file:
        write_index(file, mapped, np.dtype(dtype))
    lengths.unlink()
    return path


class IndexedReader:
    """Documents of a `.bin/.idx` pair, memory-mapped; `prefix` is the path without the suffix.

    Raises DataError when the pair is missing, damaged or the two files disagree.
    """

    def __init__(self, prefix: Path) -> None:
        index = prefix.with_name(prefix.name + ".idx")
        binary = prefix.with_name(prefix.name + ".bin")
        try:
            raw = index.read_bytes()
            size_bytes = binary.stat().st_size
        except OSError as fault:
            raise DataError(f"cannot read {prefix}.bin/.idx: {fault}; build the data set") from None
        header = len(MAGIC) + struct.calcsize("<QBQQ")
        version = code = whole = count = 0
        if len(raw) >= header and raw.startswith(MAGIC):
            version, code, count, _ = struct.unpack_from("<QBQQ", raw, len(MAGIC))
            # Of each document a length (4 bytes) and an offset (8), and one boundary (8) more.
            whole = header + count * 12 + (count + 1) * 8
        dtypes = {code: dtype for dtype, code in _DTYPE_CODES.items()}
        if version != INDEX_VERSION or code not in dtypes or len(raw) != whole:
            raise DataError(f"{index} is not a sound Megatron index; build the data set again")
        self.lengths, self.dtype = np.frombuffer(raw, np.int32, count, header), dtypes[code]
        self._ends = np.cumsum(self.lengths, dtype=np.int64)
        total = int(self._ends[-1]) if len(self._ends) else 0
        if size_bytes != total * self.dtype.itemsize:
            raise DataError(
                f"{binary} has {size_bytes} bytes, its index says {total * self.dtype.itemsize}; "
                "build the data set again"
            )
        self.tokens: npt.NDArray[np.generic] = (
            np.memmap(binary, self.dtype, "r") if total else np.zeros(0, self.dtype)
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, document: int) -> npt.NDArray[np.generic]:
        if not 0 <= document < len(self):
            raise IndexError(document)
        end = int(self._ends[document])
        return self.tokens[end - int(self.lengths[document]) : end]


def documents_in(reader: IndexedReader, chosen: range | npt.NDArray[np.int64]) -> Documents:
    """Return some documents of a reader for the kernels; raises DataError."""
    ends = np.cumsum(reader.lengths, dtype=np.int64)
    which = np.asarray(chosen, np.int64)
    lengths = reader.lengths[which]
    return documents_of(reader.tokens, ends[which] - lengths, lengths)


def spread(total: int, most: int) -> list[int]:
    """Return up to `most` of `total` places, evenly spread."""
    count = min(total, most)
    return [place * total // count for place in range(count)]


def labels_in(reader: IndexedReader, vocabulary: Vocabulary) -> npt.NDArray[np.int64]:
    """Return the labels of each document, a token of each family [documents, families]."""
    starts = np.cumsum(reader.lengths, dtype=np.int64) - reader.lengths
    # They follow PIECE_START.
    heads = starts[:, None] + np.arange(1, 1 + len(families_of(vocabulary)))
    labels: npt.NDArray[np.int64] = reader.tokens[heads].astype(np.int64)
    return labels
