"""Songs stored with a model, so that a new studio can play before it has composed any."""

import base64
import json
from pathlib import Path
from typing import Any

from megatron_music.studio.database import StoredSong
from megatron_music.studio.song_traits import title_of

SONGS = "songs.json"


def write_songs(folder: Path, model: str, songs: list[dict[str, Any]]) -> None:
    """Write songs by number, as the composing process returns them, of the model of a key."""
    rows = [song | {"midi": base64.b64encode(song["midi"]).decode()} for song in songs]
    lines = ",\n".join(json.dumps(one) for one in rows)
    (folder / SONGS).write_text(f'{{"model": "{model}", "songs": [\n{lines}\n]}}\n', "utf-8")


def read_songs(folder: Path, model: str) -> list[StoredSong]:
    """Return the songs stored with a model; none if they were made by another model."""
    try:
        saved = json.loads((folder / SONGS).read_text("utf-8"))
        if saved["model"] != model:
            return []
        return [
            StoredSong(
                one["number"],
                title_of(one["facts"], one["number"]),
                one["facts"],
                base64.b64decode(one["midi"]),
            )
            for one in saved["songs"]
        ]
    except (OSError, ValueError, LookupError, TypeError):
        return []  # they only save time
