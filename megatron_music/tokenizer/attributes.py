"""Attributes of pieces, `FAMILY=LABEL`: words, families, and mixtures that a person asks for."""

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.config import did_you_mean
from megatron_music.errors import UsageError
from megatron_music.tokenizer.vocabulary import Vocabulary

UNKNOWN = "UNKNOWN"
"""The label of pieces that have none, and of those whose label is dropped while training."""

_BETWEEN = re.compile(r"[\s,;:=/\\|_]+")


class Blend(NamedTuple):
    """Labels of one family and their shares, which add up to 1."""

    tokens: tuple[int, ...]
    shares: tuple[float, ...]

    @property
    def token(self) -> int:
        """The token in the song: that of the largest share."""
        return self.tokens[self.shares.index(max(self.shares))]


def as_word(text: str) -> str:
    """Return a label as tokens have it: capitals, one word, of any alphabet.

    Nothing, or nothing that can be printed, is UNKNOWN.
    """
    composed = unicodedata.normalize("NFC", text)
    shown = "".join(letter if letter.isprintable() else " " for letter in composed)
    return unicodedata.normalize("NFC", _BETWEEN.sub("_", shown.upper()).strip("_")) or UNKNOWN


def family_of(word: str) -> str:
    """Return the family of an attribute."""
    return word.partition("=")[0]


def families_of(vocabulary: Vocabulary) -> dict[str, dict[str, int]]:
    """Return the families of a vocabulary in order: of each label its token."""
    families: dict[str, dict[str, int]] = {}
    for word in vocabulary.settings.attributes:
        family, _, text = word.partition("=")
        families.setdefault(family, {})[text] = vocabulary.ids[word]
    return families


def unknown_tokens(vocabulary: Vocabulary) -> npt.NDArray[np.int64]:
    """Return for each token its family's unknown label; a token that is not a label stays itself.

    A family without such a label keeps its own.
    """
    table = np.arange(len(vocabulary))
    for labels in families_of(vocabulary).values():
        for token in labels.values():
            table[token] = labels.get(UNKNOWN, token)
    return table


def attribute_families(vocabulary: Vocabulary) -> npt.NDArray[np.int64]:
    """Return for each token the number of its family from 1; 0 for one that is not a label."""
    table = np.zeros(len(vocabulary), np.int64)
    for number, labels in enumerate(families_of(vocabulary).values(), 1):
        table[list(labels.values())] = number
    return table


def parse_blends(words: Sequence[str], vocabulary: Vocabulary) -> list[Blend]:
    """Return what is asked of each family, such as COMPOSER=BACH:0.5,PALESTRINA:0.5, by family.

    What is not asked for is unknown. Raises UsageError for labels that the vocabulary lacks.
    """
    families = families_of(vocabulary)
    asked: dict[str, Blend] = {}
    for wish in words:
        name, _, labels = wish.partition("=")
        family = as_word(name)
        if family not in families:
            names = ", ".join(families)
            raise UsageError(
                f"this model has no attribute {wish!r}{did_you_mean(family, list(families))}; "
                + (f"it knows {names}" if names else "its data had none")
            )
        if not labels.strip():
            known = [label for label in families[family] if label != UNKNOWN]
            raise UsageError(
                f"{family} needs a label, as in {family}={known[0] if known else UNKNOWN}; leave "
                f"{family} out for an unknown one"
            )
        if family in asked:
            raise UsageError(f"{family} is asked for twice; blend as in {family}=A:0.5,B:0.5")
        asked[family] = _blend(family, labels, families[family])
    return [
        asked[family] if family in asked else Blend((labels[UNKNOWN],), (1.0,))
        for family, labels in families.items()
        if family in asked or UNKNOWN in labels
    ]


def _blend(family: str, text: str, known: dict[str, int]) -> Blend:
    whole = as_word(text)
    if whole in known:  # "Bach, J. S." is one label in spite of its comma
        return Blend((known[whole],), (1.0,))
    tokens: dict[int, float] = {}
    for part in text.split(","):
        label, colon, share = part.rpartition(":")
        word = as_word(label if colon else part)
        if word not in known:
            raise UsageError(
                f"this model has no attribute '{family}={word}'{did_you_mean(word, list(known))}; "
                f"it knows {', '.join(list(known)[:12])}{' ...' if len(known) > 12 else ''}"
            )
        try:
            weight = float(share) if colon else 1.0
        except ValueError:
            weight = math.nan
        if not 0 < weight < math.inf:
            raise UsageError(
                f"a label's share must be a number above 0 (got {part!r}), as in BACH:0.5"
            )
        tokens[known[word]] = tokens.get(known[word], 0.0) + weight
    total = sum(tokens.values())
    return Blend(tuple(tokens), tuple(weight / total for weight in tokens.values()))
