"""Files of mmmtrack text: words separated by spaces, a piece from each PIECE_START on."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from megatron_music.errors import InputError, TokenError
from megatron_music.score.metre import METRES
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.codec import decode, from_text
from megatron_music.tokenizer.spelling import PARTS
from megatron_music.tokenizer.vocabulary import (
    VELOCITY_LEVELS,
    TokenizerSettings,
    Vocabulary,
    vocabulary_of,
)


def read_pieces(path: Path, steps_per_quarter: int) -> list[Piece]:
    """Read the pieces of a text file, with DENSITY tokens and other optional ones or without.

    Raises InputError, of a wrong token with its line and its place there, both counted from 1.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as fault:
        raise InputError(f"cannot read {path}: {fault.strerror}; check the path") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text; give a file that encode wrote") from None
    try:
        return _pieces(text, steps_per_quarter)
    except TokenError as fault:
        position, where = fault.position, "at its end"
        for number, line in enumerate(text.splitlines(), start=1):
            tokens = len(line.split())
            if position < tokens:
                where = f"line {number}, token {position + 1}"
                break
            position -= tokens
        raise InputError(f"{path}, {where}: {fault.reason}") from None


def _pieces(text: str, steps_per_quarter: int) -> list[Piece]:
    """Return the pieces of a text; positions in a TokenError count from its start."""
    vocabulary = _vocabulary(text, steps_per_quarter)
    tokens = from_text(text, vocabulary)
    starts = np.flatnonzero(tokens == vocabulary.piece_start).tolist()
    if not starts or starts[0] != 0:
        raise TokenError("expected PIECE_START; give a file that encode wrote", 0)
    pieces = []
    for start, stop in zip(starts, [*starts[1:], len(tokens)], strict=True):
        try:
            pieces.append(decode(tokens[start:stop], vocabulary))
        except TokenError as fault:
            raise TokenError(fault.reason, start + fault.position) from None
    return pieces


def _vocabulary(text: str, steps_per_quarter: int) -> Vocabulary:
    """Return a vocabulary that has the words of a text."""
    velocities = set(re.findall(r"VELOCITY=\d+", text))
    parts = set(re.findall(r"(?:^|\s)SYLLABLE=(\S+)", text))
    settings = TokenizerSettings(
        steps_per_quarter,
        "DENSITY=" in text,
        metres=tuple(map(str, METRES)) if "METRE=" in text else (),
        tempo="TEMPO=" in text,
        lyrics="SYLLABLE=" in text,
        syllable_pieces=tuple(sorted(parts.difference(PARTS))),
    )
    # No velocity is the middle of a level of both kinds.
    for levels in VELOCITY_LEVELS if velocities else ():
        vocabulary = vocabulary_of(replace(settings, velocity=levels))
        if velocities & vocabulary.ids.keys():
            return vocabulary
    return vocabulary_of(settings)
