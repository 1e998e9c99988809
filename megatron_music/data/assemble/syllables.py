"""The pieces that a collection's syllables are spelled in, learned from its training music."""

from collections import Counter

import numpy as np
import numpy.typing as npt

from megatron_music.data.assemble.scan import DatasetPlan
from megatron_music.data.encoding.shard_file import read_documents
from megatron_music.data.settings import SPLITS
from megatron_music.tokenizer.spelling import BYTES, FIRST_BYTE, learn_pieces
from megatron_music.tokenizer.vocabulary import vocabulary_of

_TRAINING = SPLITS.index("train")
_BLANK = FIRST_BYTE


def syllable_pieces(plan: DatasetPlan, most: int) -> tuple[str, ...]:
    """Return at most `most` pieces of the training syllables of shards that spell them in bytes.

    Raises DataError if a shard has been damaged.
    """
    first = vocabulary_of(plan.tokenizer).syllable
    counts = Counter[bytes]()
    for share in plan.shares:
        documents, owner = read_documents(share.shard)
        is_training = np.repeat(share.splits[owner] == _TRAINING, documents.lengths)
        counts.update(_texts(documents.tokens[is_training], first))
    texts = {text.decode(errors="ignore"): count for text, count in sorted(counts.items())}
    return learn_pieces({text: count for text, count in texts.items() if text.isprintable()}, most)


def _texts(tokens: npt.NDArray[np.uint16], first: int) -> list[bytes]:
    """Return the syllables among tokens, divided at their blanks; `first` is the first byte's."""
    byte = tokens.astype(np.int64) - first
    is_text = (byte >= 0) & (byte < BYTES)
    return np.where(is_text, byte + FIRST_BYTE, _BLANK).astype(np.uint8).tobytes().split()
