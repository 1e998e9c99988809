"""Files of notation as scores: MusicXML, ABC and Humdrum kern, read by music21.

Music21 parses; `score_stream` makes notes of its streams. A file may hold several tunes (ABC).
"""

import contextlib
import gc
import io
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

from megatron_music.errors import ScoreError
from megatron_music.score.key import spelling
from megatron_music.score.notes import Score

MUSICXML_SUFFIXES = (".xml", ".musicxml", ".mxl")
SCORE_SUFFIXES = (*MUSICXML_SUFFIXES, ".abc", ".krn")
LARGEST_SCORE_BYTES = 64_000_000
"""Of MusicXML, unpacked: a symphony's movement takes some ten megabytes."""

_KINDS = {".abc": "ABC", ".krn": "Humdrum kern"}
_CONTAINER = "META-INF/container.xml"
_TUNE = re.compile(r"^X:", re.MULTILINE)
_NAME = re.compile(r"(\.(?:xml|musicxml|mxl|abc|krn))(?:#\d+)?$", re.IGNORECASE)
_LONGEST_REASON = 120


def is_score(name: str) -> bool:
    """Tell whether a file of this name, or a tune of it such as `a.abc#3`, is notation."""
    return _NAME.search(name) is not None


def read_scores(path: Path) -> list[Score]:
    """Read the pieces of a file of notation; raises ScoreError."""
    try:
        raw = path.read_bytes()
    except OSError as fault:
        message = f"cannot read {path}: {fault.strerror}; check the path"
        raise ScoreError(message, "unreadable") from None
    if not path.name.lower().endswith(".abc"):
        return [parse_score(raw, str(path))]
    return [parse_score(tune, str(path)) for tune in split_tunes(raw)]


def split_tunes(raw: bytes) -> list[bytes]:
    """Return the tunes of an ABC file, each after the header that all of them share."""
    text = _text(raw)
    starts = [match.start() for match in _TUNE.finditer(text)]
    if len(starts) < 2:
        return [raw]
    header = text[: starts[0]]
    ends = [*starts[1:], len(text)]
    return [(header + text[start:end]).encode() for start, end in zip(starts, ends, strict=True)]


def parse_score(raw: bytes, name: str, *, is_vocal: bool = False) -> Score:
    """Read the bytes of a file of notation called `name`; raises ScoreError with its reason.

    With `is_vocal` parts of unknown names are voices, by their range.
    """
    from megatron_music.score.score_stream import as_score

    if not raw.strip():
        raise ScoreError(f"{name} is an empty file; export it again", "empty")
    match = _NAME.search(name)
    suffix = match[1].lower() if match else ".xml"
    kind = _KINDS.get(suffix, "MusicXML")
    try:
        # What music21 says of a file does not reach the terminal: the caller says it in one line.
        with (
            warnings.catch_warnings(action="ignore"),
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            if suffix in MUSICXML_SUFFIXES:
                stream = _musicxml(_unpacked(raw) if raw.startswith(b"PK") else raw)
            else:
                stream = _parsed(_text(raw), "abc" if suffix == ".abc" else "humdrum")
            return as_score(stream, is_vocal=is_vocal)
    except ScoreError as fault:
        raise ScoreError(f"{name} {fault}", fault.reason) from None
    except MemoryError:
        raise  # of the machine or a limit, not of the file
    except Exception as fault:  # music21's parsers raise many kinds of errors
        reason = " ".join(str(fault).split())[:_LONGEST_REASON] or type(fault).__name__
        raise ScoreError(
            f"{name} cannot be read as {kind} ({reason}); export it again", "damaged"
        ) from None
    finally:
        gc.collect()  # a worker collects no garbage by itself, and a stream is a heap of cycles


def _parsed(text: str, kind: str) -> Any:
    """Return a stream of ABC or kern, without beams: they take half of the time of ABC."""
    from music21 import converter, stream

    streams: Any = stream.Stream
    make_beams = streams.makeBeams
    # Music21 has no switch for it, and nothing is drawn.
    streams.makeBeams = lambda self, **_: self
    try:
        return converter.parseData(text, format=kind)
    finally:
        streams.makeBeams = make_beams


def _musicxml(raw: bytes) -> Any:
    from xml.etree import ElementTree as ET

    from music21.musicxml.xmlToM21 import MusicXMLImporter

    from megatron_music.score.score_stream import WRITTEN_MARKS

    # From bytes: music21 itself takes every file for UTF-8. Expat, since 2.4.1, bounds what
    # entities expand to, and ElementTree fetches none.
    root = ET.fromstring(raw)  # noqa: S314
    if root.tag != "score-partwise":
        raise ScoreError(f"is {root.tag!r} and no MusicXML of parts (score-partwise)", "foreign")
    # Strokes of drums get the pitch of their sound: music21 does not look at which drum it is.
    pitches: dict[str | None, int] = {}
    for sound in root.iter("midi-instrument"):
        number = sound.findtext("midi-unpitched", "").strip()
        if number.isdecimal() and 1 <= int(number) <= 128:
            pitches[sound.get("id")] = int(number) - 1
    for note in root.iter("note"):
        stroke, played = note.find("unpitched"), note.find("instrument")
        if stroke is None or played is None or played.get("id") not in pitches:
            continue
        stroke.clear()
        stroke.tag = "pitch"
        letter, alter, octave = spelling(pitches[played.get("id")], 0)
        for tag, value in (("step", letter), ("alter", alter), ("octave", octave)):
            ET.SubElement(stroke, tag).text = str(value)
    # music21 does not read the ends of lines and verses: they are written into the words.
    for lyric in root.iter("lyric"):
        texts = lyric.findall("text")
        for mark, name in zip(WRITTEN_MARKS, ("end-line", "end-paragraph"), strict=True):
            if texts and lyric.find(name) is not None:
                texts[-1].text = (texts[-1].text or "") + mark
    importer = MusicXMLImporter()
    importer.xmlRoot = root
    importer.xmlRootToScore(root, importer.stream)
    return importer.stream


def _unpacked(raw: bytes) -> bytes:
    """Return the score of a compressed MusicXML file: the first that its container names."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        names = archive.namelist()
        named = []
        if _CONTAINER in names:
            container = _member(archive, _CONTAINER).decode("utf-8", "replace")
            named = re.findall(r"full-path\s*=\s*[\"']([^\"']+)[\"']", container)
        others = [name for name in names if is_score(name) and not name.startswith("META-INF/")]
        for name in (*named, *others):
            if name in names:
                return _member(archive, name)
    raise ScoreError("holds no score", "empty")


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as file:
        content = file.read(LARGEST_SCORE_BYTES + 1)
    if len(content) > LARGEST_SCORE_BYTES:
        raise ScoreError(f"unpacks to more than {LARGEST_SCORE_BYTES} bytes", "large")
    return content


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
