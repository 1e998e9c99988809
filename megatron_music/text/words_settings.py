"""The settings of a data set of words."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_music.data.settings import SPLITS
from megatron_music.errors import UsageError
from megatron_music.tokenizer.text_vocabulary import LONGEST_FIELD

SMALLEST_VOCABULARY = 512
"""256 bytes, the marks, and some pairs."""
LARGEST_VOCABULARY = 65_000
"""The largest vocabulary: Megatron stores the ids of larger ones in four bytes, not two."""
SHORTEST_DOCUMENT = 2 * LONGEST_FIELD + 64


@dataclass(frozen=True)
class TextBuildSettings:
    """Everything that decides the tokens of a data set of words, apart from the songs.

    Tokens are characters, or with `vocabulary` that many byte pairs and marks, or `like` those of
    another data set or a Hugging Face folder, identified by `like_hash`. Songs of more than
    `longest_tokens` are cut at the ends of lines. `split` holds the weights of train, valid, test.
    """

    vocabulary: int | None = None
    like: Path | None = None
    like_hash: str = ""
    longest_tokens: int = 1024
    split: tuple[int, ...] = (90, 5, 5)

    def __post_init__(self) -> None:
        """Raise UsageError for settings that no data set can be built with."""
        size = self.vocabulary
        if size is not None and not SMALLEST_VOCABULARY <= size <= LARGEST_VOCABULARY:
            raise UsageError(
                f"--vocabulary must be {SMALLEST_VOCABULARY}..{LARGEST_VOCABULARY} tokens "
                f"(got {size}); leave it out for characters"
            )
        if size is not None and self.like is not None:
            raise UsageError(
                "--vocabulary makes new tokens, --like takes those of a folder; give one"
            )
        if not SHORTEST_DOCUMENT <= self.longest_tokens <= 1 << 20:
            raise UsageError(
                f"--longest must be {SHORTEST_DOCUMENT}..{1 << 20} tokens "
                f"(got {self.longest_tokens}); 1024 is GPT-2's"
            )
        if len(self.split) != len(SPLITS) or min(self.split) < 0 or self.split[0] < 1:
            raise UsageError(
                f"split must be three weights with training above 0 (got {self.split}); "
                "for instance 90,5,5"
            )

    def record(self) -> dict[str, Any]:
        """Return what a manifest keeps of them."""
        return {
            "vocabulary": self.vocabulary,
            "like": self.like_hash,
            "longest_tokens": self.longest_tokens,
            "split": list(self.split),
        }
