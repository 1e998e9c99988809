"""The vocabulary of a data set of words: made of its songs, or taken from a folder."""

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from megatron_music.errors import DataError
from megatron_music.tokenizer.text_vocabulary import (
    END,
    MARKS,
    MOST_CHARACTERS,
    TextSettings,
    TextVocabulary,
    characters_vocabulary,
    is_text,
    load_text_vocabulary,
    read_tokenizer,
    with_bytes,
    with_marks,
)


def of_characters(counts: Counter[str], settings: TextSettings) -> TextVocabulary:
    """Return a vocabulary of the characters that were counted, the most frequent where too many."""
    frequent = heapq.nsmallest(MOST_CHARACTERS, counts.items(), key=lambda one: (-one[1], one[0]))
    tokenizer, end = with_marks(characters_vocabulary(sorted(one for one, _ in frequent)))
    return _made(tokenizer, end, settings, "characters")


def of_byte_pairs(texts: Iterator[str], size: int, settings: TextSettings) -> TextVocabulary:
    """Return a vocabulary of `size` tokens, marks included, of pairs that are frequent in texts."""
    trainer = trainers.BpeTrainer(
        vocab_size=size - len((*MARKS, END)),
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer = with_bytes(Tokenizer(models.BPE()))
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer, end = with_marks(tokenizer)
    return _made(tokenizer, end, settings, "bytes")


def of_folder(folder: Path, settings: TextSettings) -> TextVocabulary:
    """Return the vocabulary of another data set, or that of a Hugging Face folder with marks added.

    Raises DataError where there is none of words.
    """
    inside = folder / "tokenizer" if (folder / "tokenizer").is_dir() else folder
    if is_text(inside):
        known = load_text_vocabulary(inside)
        return _made(read_tokenizer(inside), known.settings.end, settings, known.settings.level)
    tokenizer, end = with_marks(read_tokenizer(inside))
    if not isinstance(tokenizer.model, models.BPE):
        raise DataError(f"the tokenizer in {inside} is not of byte pairs, as GPT-2's is")
    return _made(tokenizer, end, settings, "bytes")


def _made(
    tokenizer: Tokenizer, end: str, settings: TextSettings, level: Literal["characters", "bytes"]
) -> TextVocabulary:
    return TextVocabulary(replace(settings, level=level, end=end), tokenizer)


def hash_of(folder: Path) -> str:
    """Return the hash of the vocabulary of a folder; raises DataError."""
    return of_folder(folder, TextSettings()).hash
