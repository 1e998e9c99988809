"""The mmmtrack vocabulary as a tokenizer object that Megatron's datasets take.

Mirrors megatron/core/tokenizers/base_tokenizer.py; hand it to `GPTDatasetConfig(tokenizer=...)`.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from megatron.core.tokenizers.base_tokenizer import MegatronTokenizerBase

from megatron_music.errors import TokenError, UsageError
from megatron_music.tokenizer.vocabulary import Vocabulary


class MmmtrackTokenizer(MegatronTokenizerBase):  # type: ignore[misc]
    """Token text to ids and back for Megatron; `vocab_size` is not padded.

    `eod` is PIECE_END and `pad` is PAD. `unique_identifiers` carries the vocabulary's hash, so
    that Megatron's index cache is never shared by two vocabularies.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__("mmmtrack", {"library": "megatron_music"})
        self.vocabulary = vocabulary

    def tokenize(self, text: str) -> list[int]:
        """Return the ids of tokens separated by blanks; raises TokenError for an unknown one."""
        ids = self.vocabulary.ids
        tokens = text.split()
        for position, token in enumerate(tokens):
            if token not in ids:
                raise TokenError(f"no token {token!r} in the vocabulary; check its name", position)
        return [ids[token] for token in tokens]

    def detokenize(self, ids: Sequence[int]) -> str:
        """Return the tokens of these ids, separated by blanks; raises TokenError."""
        tokens = self.vocabulary.tokens
        for position, token_id in enumerate(ids):
            if not 0 <= token_id < len(tokens):
                raise TokenError(f"no id {token_id}; ids are 0..{len(tokens) - 1}", position)
        return " ".join(tokens[token_id] for token_id in ids)

    @property
    def vocab(self) -> dict[str, int]:
        """Return every token and its id."""
        return self.vocabulary.ids

    @property
    def vocab_size(self) -> int:
        """Return the number of tokens, without padding."""
        return len(self.vocabulary)

    @property
    def eod(self) -> int:
        """Return the id of PIECE_END, Megatron's end of document."""
        return self.vocabulary.piece_end

    @property
    def pad(self) -> int:
        """Return the id of PAD, which differs from `eod`."""
        return self.vocabulary.pad

    @property
    def unique_identifiers(self) -> OrderedDict[str, Any]:
        """Return what tells this tokenizer from others; goes into the index cache's hash."""
        return OrderedDict(
            {"class": type(self).__qualname__, "vocabulary_hash": self.vocabulary.hash}
        )

    def apply_chat_template(self, *_: Any, **__: Any) -> str:
        """Refuse with UsageError: music has no chat."""
        raise UsageError("mmmtrack has no chat template; give tokenize a piece as text")
