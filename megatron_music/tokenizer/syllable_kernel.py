"""Which tokens may continue a syllable, compiled: the rules of `grammar.Walker`."""

import numpy as np
import numpy.typing as npt

from megatron_music.score.compiled import kernel
from megatron_music.score.words import BYTES, LONGEST_SYLLABLE_BYTES

NOT_SUNG = -1
"""Means that no syllable can continue, in place of its number of bytes."""


@kernel
def sung_after(part: int, sung: int) -> int:
    """Return the bytes of a syllable of `sung` bytes after one more part of it."""
    return sung + 1 if part < BYTES else NOT_SUNG


@kernel
def goes_on(part: int, sung: int) -> bool:
    """Tell whether a part may continue a syllable of `sung` bytes."""
    return 0 <= sung < LONGEST_SYLLABLE_BYTES if part < BYTES else sung > 0


@kernel
def mark_syllables(sung: int, first: int, last: int, mask: npt.NDArray[np.bool_]) -> None:
    """Mark what may continue a syllable of `sung` bytes; its tokens are from `first` to `last`."""
    mask[first : first + BYTES] = goes_on(0, sung)
    mask[first + BYTES : last] = goes_on(BYTES, sung)
