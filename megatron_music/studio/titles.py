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
    busiest = max((track["notes_per_bar"] for track in tracks), default=0.0)
    key = facts["key"] or "no key"
    _, major, minor = next(pace for pace in _PACES if busiest <= pace[0])
    words = minor if key.endswith("minor") else major
    names = {track["instrument"] for track in tracks}
    if names == _VOICES:
        form = "Chorale"
    elif "Drums" in names:
        form = "Groove" if len(tracks) == 1 else "Band Piece"
    else:
        form = _FORMS.get(len(tracks), "Ensemble")
    return f"{words[number % len(words)]} {form} in {key}"
