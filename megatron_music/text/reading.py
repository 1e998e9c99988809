"""Documents of words read back from a data set: whose they are, and their text."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.data.indexed import IndexedReader
from megatron_music.tokenizer.text_vocabulary import TextVocabulary


class ReadDocument(NamedTuple):
    """A document: its tokens, where the text begins among them, and the text."""

    tokens: npt.NDArray[np.int64]
    begins: int
    text: str


def read_documents(
    prefix: Path, vocabulary: TextVocabulary, most_tokens: int
) -> Iterator[ReadDocument]:
    """Give the documents of one side in order, until `most_tokens` have been read."""
    done = 0
    reader = IndexedReader(prefix)
    for number in range(len(reader)):
        tokens = np.asarray(reader[number], np.int64)
        done += len(tokens)
        if done > most_tokens:
            return
        marks = np.flatnonzero((tokens == vocabulary.words) | (tokens == vocabulary.cut))
        begins = int(marks[0]) + 1 if len(marks) else 0
        yield ReadDocument(tokens, begins, vocabulary.decode(tokens[begins:-1].tolist()))
