"""Load the vocabulary of a tokenizer folder, of music or of words by the files in it."""

from pathlib import Path

from megatron_music.tokenizer.text_vocabulary import (
    TEXT_FILE,
    TextVocabulary,
    is_text,
    load_text_vocabulary,
)
from megatron_music.tokenizer.vocabulary import SETTINGS_FILE, Vocabulary, load_vocabulary

AnyVocabulary = Vocabulary | TextVocabulary


def load_any_vocabulary(folder: Path) -> AnyVocabulary:
    """Read the vocabulary of a tokenizer folder; raises DataError if it is not a sound one."""
    return load_text_vocabulary(folder) if is_text(folder) else load_vocabulary(folder)


def save_any_tokenizer(
    vocabulary: AnyVocabulary, folder: Path, positions: int | None = None
) -> None:
    """Write a vocabulary as a folder that `transformers` loads; raises WriteError.

    `positions` is the longest text that the model takes, in tokens.
    """
    if isinstance(vocabulary, TextVocabulary):
        vocabulary.save(folder, positions)
        return
    from megatron_music.tokenizer.huggingface import save_tokenizer

    save_tokenizer(vocabulary.settings, folder, positions)


def settings_file(folder: Path) -> str:
    """Return the name of the file that tells the vocabulary of a folder."""
    return TEXT_FILE if is_text(folder) else SETTINGS_FILE
