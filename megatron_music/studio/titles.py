"""A title for a song by what it is: its key, its pace and who plays."""

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
    """Return a title for a song by its figures (`generate.report.figures`) and its number."""
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
