"""A song: what composing gives."""

from dataclasses import dataclass

from megatron_music.score.notes import Piece


@dataclass(frozen=True)
class Song:
    """A composed piece, its tokens and the seed that gives it again."""

    seed: int
    piece: Piece
    tokens: tuple[int, ...]
