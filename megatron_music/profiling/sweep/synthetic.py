"""A data set of random tokens: the time of a step does not depend on the tokens."""

from pathlib import Path

import numpy as np

from megatron_music.data.indexed import write_index
from megatron_music.files import atomic_write
from megatron_music.tokenizer.vocabulary import (
    TokenizerSettings,
    Vocabulary,
    save_settings,
    token_dtype,
)

TOKENS = 1 << 20
SAMPLES = 4
"""The least number of sequences, for any length."""


def synthetic_data(folder: Path, seq_length: int) -> Path:
    """Write a data set folder with `train` alone, unless it is there; the same tokens every time.

    Documents of random tokens in the default vocabulary, each as long as a sequence: attention
    spans all of it, as the formulas of FLOPs assume. Returns the folder, a subfolder of `folder`
    for each length. Raises WriteError.
    """
    folder = folder / f"{seq_length}_tokens"
    settings = TokenizerSettings()
    vocabulary = Vocabulary(settings)
    dtype = token_dtype(len(vocabulary))
    documents = max(SAMPLES, TOKENS // seq_length)
    binary, index = folder / "train.bin", folder / "train.idx"
    size_bytes = documents * seq_length * dtype.itemsize
    if binary.is_file() and index.is_file() and binary.stat().st_size == size_bytes:
        return folder
    tokens = np.random.default_rng(0).integers(1, len(vocabulary), (documents, seq_length))
    tokens[:, 0], tokens[:, -1] = vocabulary.piece_start, vocabulary.piece_end
    save_settings(settings, folder / "tokenizer")
    index.unlink(missing_ok=True)
    with atomic_write(binary) as temporary:
        tokens.astype(dtype).tofile(temporary)
    with atomic_write(index) as temporary, temporary.open("wb") as file:
        write_index(file, np.full(documents, seq_length, np.int32), dtype)
    return folder
