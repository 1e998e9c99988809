"""Verses of hymns: the words under Bach's chorales in music21, a line to each fermata."""

import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

from megatron_music.data.sources.catalog import Collection
from megatron_music.data.sources.corpus import corpus_fingerprint, corpus_folder
from megatron_music.text.songs import Song, TextSource, song

_NUMBER = re.compile(r"^\s*\d+\.\s*")
"""That of a verse, which some encodings have at its beginning."""


def hymns(collection: Collection) -> TextSource:
    """Return the verses as songs; a verse's title is its first line."""
    paths = sorted((corpus_folder() / "bach").glob("*.mxl"))

    def read(progress: Callable[[int], None]) -> Iterator[Song]:
        done = 0
        for path in paths:
            done += path.stat().st_size
            progress(done)
            yield from _verses(path)

    return TextSource(
        name=collection.name,
        title=collection.title,
        licence=collection.licence,
        citation=collection.citation,
        fingerprint=f"{corpus_fingerprint()} hymns",
        size_bytes=sum(path.stat().st_size for path in paths),
        read=read,
    )


def _verses(path: Path) -> Iterator[Song]:
    """Give the verses of a chorale, each from the voice that has most of it."""
    longest: dict[str, str] = {}
    with zipfile.ZipFile(path) as archive:
        inside = [name for name in archive.namelist() if not name.startswith("META-INF")]
        name = next(one for one in inside if one.endswith((".xml", ".musicxml")))
        score = ET.fromstring(archive.read(name))  # noqa: S314 - of an installed package
    for part in score.iter("part"):
        verses: dict[str, str] = {}
        for note in part.iter("note"):
            for lyric in note.findall("lyric"):
                syllable = "".join(one.text or "" for one in lyric.iter("text"))
                joined = lyric.findtext("syllabic") in {"begin", "middle"}
                number = lyric.get("number", "1")
                verses[number] = verses.get(number, "") + syllable + ("" if joined else " ")
            # Chorales have a fermata at the end of each line of the text.
            if note.find(".//fermata") is not None:
                verses = {one: f"{text.rstrip()}\n" for one, text in verses.items()}
        for verse, text in verses.items():
            if len(text) > len(longest.get(verse, "")):
                longest[verse] = text
    for verse, text in sorted(longest.items()):
        lines = [line.strip() for line in _NUMBER.sub("", text).splitlines()]
        title = next((line.rstrip(",.;:!?") for line in lines if line), "")
        yield song(f"{path.stem}, verse {verse}", "\n".join(lines), title)
