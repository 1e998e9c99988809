"""Learn from votes which traits of songs people like, to choose what is heard next."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from megatron_music.studio.titles import is_minor, pace_of

_PRIOR_VOTES = 2.0
"""Votes each way that every trait begins with, so that one vote decides little."""


class Liking:
    """The votes on each trait, for and against, added up."""

    def __init__(self, voted: Iterable[tuple[dict[str, Any], int, int]]) -> None:
        """Learn from the facts of songs, each with its votes for and against."""
        self._likes: Counter[str] = Counter()
        self._dislikes: Counter[str] = Counter()
        for facts, likes, dislikes in voted:
            for trait in traits(facts):
                self._likes[trait] += likes
                self._dislikes[trait] += dislikes

    def score(self, facts: dict[str, Any]) -> float:
        """Return how much a song is like those that were liked: 0 knows nothing.

        The sum over its traits of log((likes + 2) / (dislikes + 2)).
        """
        return sum(
            math.log((self._likes[trait] + _PRIOR_VOTES) / (self._dislikes[trait] + _PRIOR_VOTES))
            for trait in traits(facts)
        )


def traits(facts: dict[str, Any]) -> Iterator[str]:
    """Yield what can be liked of a song: mode, key, pace, density, tempo, instruments, labels."""
    yield "minor" if is_minor(facts) else "major"
    yield f"key {facts['key']}"
    yield f"pace {pace_of(facts)}"
    yield f"density {round(math.log2(1 + facts['notes_per_bar']))}"
    yield f"tempo {round(facts['tempo_bpm'] / 20)}"
    for instrument in {track["instrument"] for track in facts["tracks"]}:
        yield f"instrument {instrument}"
    for label in facts.get("labels", ()):
        yield f"label {label}"
