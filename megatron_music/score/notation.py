"""Read files of notation as scores: MusicXML, ABC and Humdrum kern.

Music21 parses a file; `music21_stream` makes a score of the result. An ABC file may hold several
tunes, each of which is a piece.
"""

import codecs
import contextlib
import gc
import io
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from megatron_music.errors import ScoreError
from megatron_music.score.abc_tunes import decoded, plain_abc, tunes_by_heading
from megatron_music.score.key import spelling
from megatron_music.score.metre import check_metre
from megatron_music.score.notes import Score

MUSICXML_SUFFIXES = (".xml", ".musicxml", ".mxl")
SCORE_SUFFIXES = (*MUSICXML_SUFFIXES, ".abc", ".krn")
LARGEST_SCORE_BYTES = 64_000_000
"""The limit of unpacked MusicXML. A movement of a symphony takes about ten megabytes."""

_KINDS = {".abc": "ABC", ".krn": "Humdrum kern"}
_CONTAINER = "META-INF/container.xml"
_NAME = re.compile(
    r"(\.(?:xml|musicxml|mxl|abc|krn))(?:#\d+| \(X:\S*, line \d+\))?$", re.IGNORECASE
)
_KERN_METRE = re.compile(r"^(?:.*\t)?\*M(\d+)/(\d+)", re.MULTILINE)
_MEASURE = re.compile(r"measure \(([^)]*)\)")


def is_score(name: str) -> bool:
    """Tell whether a file of this name, or a tune of it such as `a.abc#3`, is notation."""
    return _NAME.search(name) is not None


def read_scores(path: Path, leave_out: Callable[[ScoreError], None] | None = None) -> list[Score]:
    """Read the pieces of a file of notation; raises ScoreError.

    Of several tunes those that cannot be read are given to `leave_out`, if it is given and any
    tune can be read. Messages name such tunes by their numbers (X:) and lines.
    """
    try:
        raw = path.read_bytes()
    except OSError as fault:
        message = f"cannot read {path}: {fault.strerror}; check the path"
        raise ScoreError(message, "unreadable") from None
    tunes = tunes_by_heading(raw) if path.name.lower().endswith(".abc") else {"": raw}
    if len(tunes) == 1:
        return [parse_score(raw, str(path))]
    scores, faults = [], []
    for heading, tune in tunes.items():
        try:
            scores.append(parse_score(tune, f"{path} ({heading})"))
        except ScoreError as fault:
            faults.append(fault)
    for one in faults:
        if leave_out is None or not scores:
            raise one
        leave_out(one)
    return scores


def parse_score(raw: bytes, name: str, *, is_vocal: bool = False) -> Score:
    """Read the bytes of a file of notation called `name`; raises ScoreError with its reason.

    With `is_vocal` parts of unknown names are voices, by their range.
    """
    from megatron_music.score.music21_stream import as_score

    if not raw.strip():
        raise ScoreError(f"{name} is an empty file; export it again", "empty")
    match = _NAME.search(name)
    suffix = match[1].lower() if match else ".xml"
    kind = _KINDS.get(suffix, "MusicXML")
    try:
        # Warnings of music21 are kept off the terminal: the caller reports a fault in one line.
        with (
            warnings.catch_warnings(action="ignore"),
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            if suffix in MUSICXML_SUFFIXES:
                stream = _musicxml(_unpacked(raw, suffix))
            else:
                stream = _parsed(decoded(raw), suffix)
            return as_score(stream, is_vocal=is_vocal)
    except ScoreError as fault:
        raise ScoreError(f"{name} {fault}", fault.reason) from None
    except MemoryError:
        raise  # the machine or a limit is at fault, not the file
    except Exception as fault:  # music21's parsers raise many kinds of errors
        where = _broken_at(fault)
        raise ScoreError(
            f"{name} cannot be read as {kind}{where}; export it again", "damaged"
        ) from None
    finally:
        gc.collect()  # streams are full of reference cycles, and workers collect no garbage


def _unpacked(raw: bytes, suffix: str) -> bytes:
    """Return MusicXML as it is; of a compressed file the first score that its container names."""
    if not raw.startswith(b"PK"):
        if suffix == ".mxl" and raw.lstrip(codecs.BOM_UTF8)[:1] != b"<":
            raise ScoreError("is no ZIP file, as .mxl files are; export it again", "foreign")
        return raw
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
    raise ScoreError("holds no score; export it again", "empty")


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as file:
        content = file.read(LARGEST_SCORE_BYTES + 1)
    if len(content) > LARGEST_SCORE_BYTES:
        raise ScoreError(f"unpacks to more than {LARGEST_SCORE_BYTES} bytes", "large")
    return content


def _musicxml(raw: bytes) -> Any:
    """Parse MusicXML, in which what music21 does not read is written as what it reads."""
    from music21.musicxml.xmlToM21 import MusicXMLImporter

    from megatron_music.score.music21_stream import WRITTEN_MARKS

    # From bytes: music21 itself takes every file for UTF-8. Expat, since 2.4.1, bounds what
    # entities expand to, and ElementTree fetches none.
    root = ET.fromstring(raw)  # noqa: S314
    if root.tag != "score-partwise":
        raise ScoreError(
            f"is {root.tag!r} and no MusicXML of parts (score-partwise); export it again", "foreign"
        )
    for time in root.iter("time"):  # music21 fails at some
        beats, kind = (time.findtext(tag, "").strip() for tag in ("beats", "beat-type"))
        if beats.isdecimal() and kind.isdecimal():
            check_metre(int(beats), int(kind))
    # Which drum plays is written as the pitch of an unpitched note.
    drums = {
        sound.get("id"): int(number) - 1
        for sound in root.iter("midi-instrument")
        if (number := sound.findtext("midi-unpitched", "").strip()).isdecimal()
        and 1 <= int(number) <= 128
    }
    for note in root.iter("note"):
        stroke, played = note.find("unpitched"), note.find("instrument")
        if stroke is None or played is None or played.get("id") not in drums:
            continue
        stroke.clear()
        stroke.tag = "pitch"
        written = spelling(drums[played.get("id")], 0)
        for tag, value in zip(("step", "alter", "octave"), written, strict=True):
            ET.SubElement(stroke, tag).text = str(value)
    # The ends of lines and verses are written into the words.
    for lyric in root.iter("lyric"):
        texts = lyric.findall("text")
        for mark, name in zip(WRITTEN_MARKS, ("end-line", "end-paragraph"), strict=True):
            if texts and lyric.find(name) is not None:
                texts[-1].text = (texts[-1].text or "") + mark
    importer = MusicXMLImporter()
    importer.xmlRoot = root
    importer.xmlRootToScore(root, importer.stream)
    return importer.stream


def _parsed(text: str, suffix: str) -> Any:
    """Parse ABC or kern without beams, which would take half of the time of ABC."""
    from music21 import converter, stream

    if suffix == ".abc":
        text = plain_abc(text)
    else:
        _check_kern(text)
    streams: Any = stream.Stream
    make_beams = streams.makeBeams
    # Music21 has no option to leave beams out. Nothing here draws them.
    streams.makeBeams = lambda self, **_: self
    try:
        return converter.parseData(text, format="abc" if suffix == ".abc" else "humdrum")
    finally:
        streams.makeBeams = make_beams


def _check_kern(text: str) -> None:
    """Check that text is kern, in possible metres, its lines as its spines; raises ScoreError."""
    for metre in _KERN_METRE.finditer(text):
        check_metre(int(metre[1]), int(metre[2]))
    if not re.search(r"^(.*\t)?\*\*", text, re.MULTILINE):
        raise ScoreError(
            "is no Humdrum kern: no spine begins with **kern; export it again", "foreign"
        )
    spines = 0
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("!"):
            continue
        columns = re.split(r"\t+", line.strip("\t"))
        spines = spines or len(columns)
        if len(columns) != spines:
            message = f"line {number} has {len(columns)} columns for {spines} spines"
            raise ScoreError(
                f"cannot be read as Humdrum kern: {message}; export it again", "damaged"
            )
        if line.startswith("*"):
            merged = (len(list(run)) - 1 for sign, run in groupby(columns) if sign == "*v")
            spines += columns.count("*^") + columns.count("*+") - columns.count("*-") - sum(merged)


def _broken_at(fault: Exception) -> str:
    """Return where a file of notation is damaged, or "" where the error does not say it."""
    if isinstance(fault, ET.ParseError):
        line, column = fault.position
        return f": its XML breaks at line {line}, column {column + 1}"
    if isinstance(fault, zipfile.BadZipFile | zlib.error):
        return ": its ZIP container is damaged"
    measure = _MEASURE.search(str(fault))
    return f": its measure {measure[1]} is not valid" if measure else ""
