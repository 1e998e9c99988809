"""The index of a folder of songs: the request and the maker of each song, hashes of its files.

A song that is there stays: others are written under names that are free.
"""

import json
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from megatron_music.data.sources.folder import ALBUM_FILE, KEPT_FOLDER, SONG_STEM
from megatron_music.errors import UsageError
from megatron_music.files import atomic_write, sha256_of, write_changed

FIRST_SEED = 7
MUSIC_KINDS = ("mid", "kar", "wav", "png", "musicxml", "json")
TEXT_KINDS = ("txt",)
_FORMAT = 2
_STEM = re.compile(SONG_STEM)


@dataclass
class Entry:
    """A song, or a prompt. `wish` identifies it; `files` is empty until it is finished."""

    stem: str
    wish: dict[str, Any]
    files: dict[str, str] = field(default_factory=dict)


class AlbumIndex:
    """The entries of a folder, oldest first, in its `album.json`.

    A song's files have the suffixes `kinds`; what a person calls alike is the person's.
    """

    def __init__(self, folder: Path, kinds: tuple[str, ...] = MUSIC_KINDS) -> None:
        self.folder = folder
        self._kinds = kinds
        self.entries = [entry for entry in _read(folder) if entry.files]

    def clean_up(self) -> None:
        """Remove the files of songs that a killed command left unfinished."""
        for entry in _read(self.folder):
            if not entry.files:
                self._remove_files(entry)
        self._save()

    def drop(self, entry: Entry) -> None:
        """Forget a song that is not finished, and remove its files."""
        self._remove_files(entry)
        self.entries.remove(entry)
        self._save()

    def find(self, wish: dict[str, Any]) -> Entry | None:
        """Return the entry of a wish if nobody has changed its files, else None."""
        for entry in self.entries:
            if entry.wish == wish:
                with suppress(OSError):
                    files = entry.files.items()
                    if all(sha256_of(self.folder / name) == sha for name, sha in files):
                        return entry
        return None

    def present(self) -> list[Entry]:
        """Return the entries whose MIDI file is there, changed or not."""
        there = [entry for entry in self.entries if self.path(entry, "mid").is_file()]
        return [entry for entry in there if self.path(entry, "json").is_file()]

    def next_seed(self) -> int:
        """Return the seed after the highest of the songs here."""
        seeds = [entry.wish["seed"] for entry in self.entries if entry.wish.get("seed") is not None]
        return max(seeds, default=FIRST_SEED - 1) + 1

    def begin(self, name: str, wish: dict[str, Any]) -> Entry:
        """Enter a song that is being written, under the first free name: NAME, NAME-2, ..."""
        number, stem = 1, name
        # Any suffix: a file that a person named so must not be overwritten either.
        while any(self.folder.glob(f"{stem}.*")):
            number += 1
            stem = f"{name}-{number}"
        entry = Entry(stem, wish)
        self.entries.append(entry)
        self._save()
        return entry

    def finish(self, entry: Entry, files: Iterable[Path]) -> None:
        """Enter the hashes of the files of a finished song."""
        # The hashes tell later whether a person has changed a file: then it is theirs, and stays.
        entry.files = {path.name: sha256_of(path) for path in files}
        self._save()

    def keep(self, names: Iterable[str]) -> list[Path]:
        """Copy songs, by stem, file or number, into `kept/`; returns the copies.

        Raises UsageError.
        """
        stems = ["song-" + Path(name).stem.removeprefix("song-") for name in names]
        kept = []
        for stem in stems:
            files = [self.folder / f"{stem}.{kind}" for kind in (*MUSIC_KINDS, *TEXT_KINDS)]
            if not any(map(Path.is_file, files)):
                songs = ", ".join(entry.stem for entry in self.entries) or "none"
                raise UsageError(f"no {self.folder / stem} to keep; songs of this folder: {songs}")
            for file in filter(Path.is_file, files):
                with atomic_write(self.folder / KEPT_FOLDER / file.name) as temporary:
                    shutil.copyfile(file, temporary)
                kept.append(self.folder / KEPT_FOLDER / file.name)
        return kept

    def path(self, entry: Entry, kind: str) -> Path:
        """Return where a file of an entry is."""
        return self.folder / f"{entry.stem}.{kind}"

    def _remove_files(self, entry: Entry) -> None:
        for kind in self._kinds:
            self.path(entry, kind).unlink(missing_ok=True)

    def _save(self) -> None:
        entries = [vars(entry) for entry in self.entries]
        text = json.dumps({"format": _FORMAT, "songs": entries}, indent=1, ensure_ascii=False)
        write_changed(self.folder / ALBUM_FILE, text + "\n")


def _read(folder: Path) -> list[Entry]:
    """Read the entries; none where the file is not ours, so that no song of it is touched."""
    try:
        album = json.loads((folder / ALBUM_FILE).read_text(encoding="utf-8"))
        entries = [Entry(**one) for one in album["songs"]] if album["format"] == _FORMAT else []
        return [entry for entry in entries if _STEM.fullmatch(entry.stem)]
    except (OSError, ValueError, KeyError, TypeError):
        return []
