"""Traits of songs, by their figures: the title of a song, and which traits people vote for."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

_PACES = (
    # most onsets a bar of the busiest track, in major, in minor
    (3.0, ("Still", "Calm", "Gentle", "Broad"), ("Grave", "Pale", "Solemn", "Hushed")),
    (5.0, ("Walking", "Warm", "Clear", "Easy"), ("Pensive", "Wistful", "Dusky", "Plain")),
    (8.0, ("Bright", "Glad", "Open", "Lively"), ("Restless", "Stern", "Urgent", "Deep")),
    (float("inf"), ("Brilliant", "Merry", "Quick"), ("Stormy", "Driven", "Sharp")),
)
_FORMS = {1: "Tune", 2: "Duo", 3: "Trio", 4: "Quartet", 5: "Quintet", 6: "Sextet"}
_VOICES = {"SOPRANO", "ALTO", "TENOR", "BASS"}


def title_of(facts: dict[str, Any], number: int) -> str:
    """Return a title for a song by its figures (`generate.song_report.figures`) and its number."""
    tracks = facts["tracks"]
    _, major, minor = _PACES[pace_of(facts)]
    words = minor if is_minor(facts) else major
    names = {track["instrument"] for track in tracks}
    if names == _VOICES:
        form = "Chorale"
    elif "Drums" in names:
        form = "Groove" if len(tracks) == 1 else "Band Piece"
    else:
        form = _FORMS.get(len(tracks), "Ensemble")
    return f"{words[number % len(words)]} {form} in {facts['key'] or 'no key'}"


def is_minor(facts: dict[str, Any]) -> bool:
    """Tell whether a song is in a minor key."""
    return (facts["key"] or "").endswith("minor")


def pace_of(facts: dict[str, Any]) -> int:
    """Return how quick a song is, from 0 for the slowest."""
    busiest = max((track["notes_per_bar"] for track in facts["tracks"]), default=0.0)
    return next(pace for pace, (most, *_) in enumerate(_PACES) if busiest <= most)


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
