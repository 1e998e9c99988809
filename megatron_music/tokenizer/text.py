"""Files of mmmtrack text: words separated by spaces, a piece from each PIECE_START on."""

from pathlib import Path

import numpy as np

from megatron_music.errors import InputError, TokenError
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.codec import decode, from_text
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary


def read_pieces(path: Path, steps_per_quarter: int) -> list[Piece]:
    """Read the pieces of a text file, with DENSITY tokens or without; raises InputError.

    Positions in a TokenError count from the start of the file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as fault:
        raise InputError(f"cannot read {path}: {fault.strerror}; check the path") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text; give a file that encode wrote") from None
    has_density = "DENSITY=" in text
    vocabulary = Vocabulary(TokenizerSettings(steps_per_quarter, has_density))
    tokens = from_text(text, vocabulary)
    starts = np.flatnonzero(tokens == vocabulary.piece_start).tolist()
    if not starts or starts[0] != 0:
        raise InputError(f"{path} does not begin with PIECE_START; give a file that encode wrote")
    pieces = []
    for start, stop in zip(starts, [*starts[1:], len(tokens)], strict=True):
        try:
            pieces.append(decode(tokens[start:stop], vocabulary))
        except TokenError as fault:
            raise TokenError(fault.reason, start + fault.position) from None
    return pieces
