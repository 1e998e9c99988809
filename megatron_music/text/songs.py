"""Read the songs of a data set of words from CSV, JSON lines, a folder of .txt or music21.

A source is read more than once, song by song, so that a file of any size takes little memory.
"""

import codecs
import csv
import hashlib
import json
import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

from megatron_music.data.sources.catalog import Collection
from megatron_music.data.sources.corpus import corpus_fingerprint, corpus_folder
from megatron_music.errors import DataError, UsageError
from megatron_music.formatting import printable

TABLES = (".csv", ".tsv")
LINES = (".jsonl", ".ndjson")
TEXT_COLUMNS = ("lyrics", "lyric", "text", "words", "song_lyrics", "verse", "poem", "content")
TITLE_COLUMNS = ("title", "song_title", "track_name", "song_name", "song", "track", "name")
ARTIST_COLUMNS = ("artist", "artist_name", "singer", "band", "author", "poet", "composer")

_LARGEST_CELL = 16 << 20
_HEADER_BYTES = 1 << 16
_DELIMITERS = ",;\t|"
_LONGEST_NAME = 200  # characters
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\ufffe\uffff\ud800-\udfff]")
_VERSE_NUMBER = re.compile(r"^\s*\d+\.\s*")
"""Some encodings have it at the beginning of a verse."""
_GAPS = re.compile(r"\n{3,}")


class Song(NamedTuple):
    """One song as it was read; `reason` says why it cannot be used, "" if it can."""

    name: str
    text: str
    title: str = ""
    artist: str = ""
    reason: str = ""


class Columns(NamedTuple):
    """The columns that the user names; None for the usual ones."""

    text: str | None = None
    title: str | None = None
    artist: str | None = None


@dataclass(frozen=True)
class TextSource:
    """Songs in a fixed order: each call of `read` gives them from the first.

    `read` reports how many of `size_bytes` bytes have been read.
    """

    name: str
    title: str
    licence: str
    citation: str
    fingerprint: str
    size_bytes: int
    read: Callable[[Callable[[int], None]], Iterator[Song]]


def open_songs(path: Path, columns: Columns) -> TextSource:
    """Return the songs of a file or folder; raises UsageError and DataError for other files."""
    if path.parts[:1] == ("~",):
        path = path.expanduser()
    if path.is_dir():
        return _folder(path, columns)
    if not path.is_file():
        raise UsageError(
            f"no file and no folder {path}; give a CSV, JSON lines or a folder of .txt"
        )
    suffix = path.suffix.lower()
    if suffix not in (*TABLES, *LINES):
        raise UsageError(
            f"{path} is not a collection of songs; give a file that ends in "
            f"{', '.join((*TABLES, *LINES))}, or a folder of .txt files"
        )
    status = path.stat()
    if not status.st_size:
        raise DataError(f"{path} is empty; give a file with songs")
    encoding = encoding_of(path)
    reader = (
        _table(path, encoding, columns) if suffix in TABLES else _lines(path, encoding, columns)
    )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    fingerprint = hashlib.sha256(json.dumps([digest.hexdigest(), columns]).encode()).hexdigest()
    return TextSource(
        name=printable(path.name),
        title=f"Songs of the file {printable(path.name)}",
        licence="that of the texts; find it out before you pass anything on",
        citation="none known",
        fingerprint=fingerprint,
        size_bytes=status.st_size,
        read=reader,
    )


def clean(text: str) -> str:
    """Return a text in one form: composed characters, line feeds, no trailing blanks."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    lines = (line.rstrip() for line in _CONTROLS.sub("", text).split("\n"))
    return _GAPS.sub("\n\n", "\n".join(lines)).strip("\n")


def _name(text: str) -> str:
    """Return an artist or a title on one line."""
    return " ".join(clean(text).split())[:_LONGEST_NAME].rstrip()


def song(name: str, text: str, title: str = "", artist: str = "") -> Song:
    """Return a song in its clean form; one without a word is refused."""
    words = clean(text)
    reason = "" if any(map(str.isalpha, words)) else "empty"
    return Song(name, words, _name(title), _name(artist), reason)


def _chosen(
    wanted: Columns, there: Sequence[str], place: str
) -> tuple[str, str | None, str | None]:
    """Return the columns of text, title and artist; raises DataError where one is not there."""
    by_name = {name.strip().lower(): name for name in there}
    usual = (TEXT_COLUMNS, TITLE_COLUMNS, ARTIST_COLUMNS)
    found: list[str | None] = []
    for what, asked, names in zip(Columns._fields, wanted, usual, strict=True):
        candidates = names if asked is None else (asked.strip().lower(),)
        taken = {one for one in found if one}
        found.append(
            next((by_name[n] for n in candidates if by_name.get(n, "") not in {"", *taken}), None)
        )
        if found[-1] is None and (asked is not None or what == "text"):
            looked = repr(asked) if asked is not None else f"named {' or '.join(names[:4])}"
            raise DataError(
                f"{place} has no column {looked}; it has {', '.join(there) or 'none'}: "
                f"name one with --{what}-column"
            )
    text, title, artist = found
    return text or "", title, artist


def _song_of(
    row: Mapping[str, object], columns: tuple[str, str | None, str | None], name: str
) -> Song:
    text, title, artist = (str(row.get(one) or "") if one else "" for one in columns)
    return song(name, text, title, artist)


def _table(
    path: Path, encoding: str, wanted: Columns
) -> Callable[[Callable[[int], None]], Iterator[Song]]:
    """Return the reader of a CSV; raises DataError where a column is not there."""
    # Else the csv module refuses cells of more than 128 KiB.
    csv.field_size_limit(_LARGEST_CELL)
    with path.open(encoding=encoding, newline="") as file:
        head = file.readline(_HEADER_BYTES)
    # By the header alone: in the rows, texts have commas of their own.
    delimiter = max(_DELIMITERS, key=head.count)
    with _decoded(path), path.open(encoding=encoding, newline="") as file:
        header = next(csv.reader(file, delimiter=delimiter), [])
    columns = _chosen(wanted, header, str(path))

    def read(progress: Callable[[int], None]) -> Iterator[Song]:
        with (
            _decoded(path),
            path.open("rb") as raw,
            TextIOWrapper(raw, encoding, newline="") as file,
        ):
            # Progress is that of the bytes below: the text layer does not tell its place while it
            # is read.
            rows = csv.DictReader(file, delimiter=delimiter)
            for number, row in enumerate(rows, 1):
                progress(raw.tell())
                yield _song_of(row, columns, f"row {number}")

    return read


def _lines(
    path: Path, encoding: str, wanted: Columns
) -> Callable[[Callable[[int], None]], Iterator[Song]]:
    """Return the reader of JSON lines; raises DataError where the first has no text."""

    def parsed(line: str) -> dict[str, object] | None:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            return None
        return row if isinstance(row, dict) else None

    with _decoded(path), path.open(encoding=encoding) as file:
        first = next((row for line in file if (row := parsed(line)) is not None), None)
    if first is None:
        raise DataError(f"{path} has no line that is a JSON object; give one object a line")
    columns = _chosen(wanted, list(first), str(path))

    def read(progress: Callable[[int], None]) -> Iterator[Song]:
        with _decoded(path), path.open("rb") as raw, TextIOWrapper(raw, encoding) as file:
            for number, line in enumerate(file, 1):
                progress(raw.tell())
                if not line.strip():
                    continue
                row = parsed(line)
                name = f"line {number}"
                yield (
                    Song(name, "", reason="damaged")
                    if row is None
                    else _song_of(row, columns, name)
                )

    return read


def _folder(folder: Path, columns: Columns) -> TextSource:
    """Return the .txt files of a folder and below: ARTIST/TITLE.txt, or ARTIST - TITLE.txt."""
    if any(columns):
        raise UsageError(
            "a folder of .txt files has no columns; leave out --text-column and others"
        )
    # Sorted: the order that a file system gives differs from machine to machine.
    paths = sorted(path for path in folder.rglob("*.txt") if path.is_file())
    if not paths:
        raise UsageError(f"no .txt file in {folder} or below; give a folder of songs as text")
    sizes = [path.stat().st_size for path in paths]
    names = [path.relative_to(folder).as_posix() for path in paths]

    def read(progress: Callable[[int], None]) -> Iterator[Song]:
        done = 0
        for path, size, name in zip(paths, sizes, names, strict=True):
            done += size
            progress(done)
            artist, dash, title = path.stem.partition(" - ")
            if not dash:
                artist, title = (path.parent.name if "/" in name else ""), path.stem
            try:
                text = path.read_text(encoding=encoding_of(path))
            except (DataError, UnicodeDecodeError, OSError):
                yield Song(printable(name), "", reason="not text")
            else:
                yield song(printable(name), text, title, artist)

    facts = [
        [name, hashlib.sha256(path.read_bytes()).hexdigest()]
        for name, path in zip(names, paths, strict=True)
    ]
    return TextSource(
        name=printable(folder.resolve().name),
        title=f"Text files of the folder {printable(folder.resolve().name)}",
        licence="that of the texts; find it out before you pass anything on",
        citation="none known",
        fingerprint=hashlib.sha256(
            json.dumps(facts).encode("utf-8", "surrogateescape")
        ).hexdigest(),
        size_bytes=sum(sizes),
        read=read,
    )


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
        lines = [line.strip() for line in _VERSE_NUMBER.sub("", text).splitlines()]
        title = next((line.rstrip(",.;:!?") for line in lines if line), "")
        yield song(f"{path.stem}, verse {verse}", "\n".join(lines), title)


@contextmanager
def _decoded(path: Path) -> Iterator[None]:
    """Turn errors of a reader in the middle of a file into DataError."""
    try:
        yield
    except UnicodeDecodeError as fault:
        raise DataError(f"{path} is not text throughout: {fault}; save it as UTF-8") from None
    except csv.Error as fault:
        raise DataError(f"{path} is not a sound CSV: {fault}; mend it") from None


_PORTION_BYTES = 1 << 20
_SAMPLE_BYTES = 1 << 16


def encoding_of(path: Path) -> str:
    """Return the encoding of a file; raises DataError where its bytes are not text."""
    odd = _first_odd_byte(path)
    if odd is None:
        return "utf-8-sig"
    with path.open("rb") as file:
        head = file.read(_SAMPLE_BYTES)
        file.seek(max(0, odd - _SAMPLE_BYTES // 2))
        around = file.read(_SAMPLE_BYTES)
    from charset_normalizer import from_bytes

    # The sample must hold the odd bytes: the head of a file is often plain ASCII.
    sample = head if odd < _SAMPLE_BYTES else head + around
    found = from_bytes(sample).best()
    # Only encodings of 16 and 32 bits have zero bytes in their letters.
    if found is None or (b"\0" in sample and not found.encoding.startswith(("utf_16", "utf_32"))):
        raise DataError(
            f"{path} is not text: byte {odd:,} is not UTF-8, and no other encoding fits; "
            "give a text file, or save it as UTF-8"
        )
    return found.encoding


def _first_odd_byte(path: Path) -> int | None:
    """Return where a file first differs from UTF-8, or holds a zero; None where it does not."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    done = 0
    try:
        with path.open("rb") as file:
            while portion := file.read(_PORTION_BYTES):
                if (zero := portion.find(b"\0")) >= 0:
                    return done + zero
                decoder.decode(portion)
                done += len(portion)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError as fault:
        return max(0, done + fault.start)
    except OSError as fault:
        raise DataError(f"cannot read {path}: {fault.strerror}; check the path") from None
    return None
