"""Songs of two artists that differ, as a CSV."""

import csv
from pathlib import Path

import numpy as np

ARTISTS = {
    "QUEEN": ("why", "do", "the", "bells", "ring", "crown", "king", "gold"),
    "The Owls": ("moon", "river", "night", "sleep", "dark", "tree", "wind", "owl"),
}


def verses(artist: str, number: int, lines: int = 4) -> str:
    """Return lines of the artist's words, others for every number."""
    random = np.random.default_rng(number)
    words = ARTISTS[artist]
    chosen = [" ".join(random.choice(words, 5)) for _ in range(lines)]
    return "\n".join(line.capitalize() for line in chosen)


def write_songs(path: Path, count: int = 60) -> Path:
    """Write a CSV of so many songs; each is of the next artist."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "artist", "title", "lyrics"])
        for number in range(count):
            artist = list(ARTISTS)[number % 2]
            writer.writerow([number, artist, f"Song {number}", verses(artist, number)])
    return path
