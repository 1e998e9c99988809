"""A song: what composing gives."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from megatron_music.score.notes import Piece

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Song:
    """A composed piece, its tokens and the seed that gives it again.

    Of a song with a prompt, `sources` say which of the prompt's tracks each track was, None for
    one that is new, `new` [tracks, bars] which bars were composed, and `dropped` which tracks of
    the prompt were left out. `sings` is the track whose words are new, where its notes are not.
    """

    seed: int
    piece: Piece
    tokens: tuple[int, ...]
    sources: tuple[int | None, ...] = ()
    new: BoolArray = field(default_factory=lambda: np.zeros((0, 0), np.bool_), compare=False)
    dropped: tuple[int, ...] = ()
    sings: int | None = None
