"""What a run hands up when it is time to listen to it: composing is known above this package."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_music.config import Recipe
from megatron_music.tokenizer.vocabulary import Vocabulary


@dataclass(frozen=True)
class Moment:
    """A run at an iteration that has just been saved as `step`; samples of it go to `samples`.

    `weights` is the state of the whole model where this rank holds it all, in Megatron's local
    layers; else None, and the checkpoint has to be read.
    """

    iteration: int
    recipe: Recipe
    vocabulary: Vocabulary
    step: Path
    samples: Path
    weights: dict[str, Any] | None


Listen = Callable[[Moment], None]
"""Composes something; called on rank 0 alone, while the others wait."""
