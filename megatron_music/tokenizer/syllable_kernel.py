"""Which tokens may go on a syllable, compiled: as `grammar.Walker` says."""

import numpy as np
import numpy.typing as npt

from megatron_music.score.compiled import kernel
from megatron_music.score.words import BYTES, LONGEST_SYLLABLE_BYTES

NOT_SUNG = -1
"""What stands for the bytes of a syllable where none can go on."""


@kernel
def sung_after(part: int, sung: int) -> int:
    """Return the bytes of a syllable of `sung` bytes behind a part of it."""
    return sung + 1 if part < BYTES else NOT_SUNG


@kernel
def goes_on(part: int, sung: int) -> bool:
    """Tell whether a part may go on a syllable of so many bytes."""
    return 0 <= sung < LONGEST_SYLLABLE_BYTES if part < BYTES else sung > 0


@kernel
def mark_syllables(sung: int, first: int, last: int, mask: npt.NDArray[np.bool_]) -> None:
    """Mark what may go on a syllable of so many bytes; its tokens are from `first` to `last`."""
    mask[first : first + BYTES] = goes_on(0, sung)
    mask[first + BYTES : last] = goes_on(BYTES, sung)
