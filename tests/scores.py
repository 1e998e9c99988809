"""Files of notation for tests, made by hand: MusicXML, ABC, Humdrum kern."""

import io
import zipfile
from collections.abc import Sequence

Notes = Sequence[tuple[str, int]]
"""Pitches such as "C5" ("" for a rest) and their quarters."""

TUNE = """X:1
T:A tune
M:3/4
L:1/4
K:G
D|:G A B|c2 B|1 A2 D:|2 G2|]
"""

KERN = """**kern\t**kern
*Ibass\t*Icant
*M4/2\t*M4/2
=1\t=1
0C\t1cc
.\t1dd
=2\t=2
0G\t0b
==\t==
*-\t*-
"""


def measure(number: int, notes: Notes, head: str = "", foot: str = "") -> str:
    """Write a measure of MusicXML, two divisions a quarter."""
    written = "".join(
        f"<note>{_pitch(pitch)}<duration>{2 * quarters}</duration></note>"
        for pitch, quarters in notes
    )
    return f'<measure number="{number}">{head}{written}{foot}</measure>'


def _pitch(name: str) -> str:
    if not name:
        return "<rest/>"
    return f"<pitch><step>{name[0]}</step><octave>{name[1:]}</octave></pitch>"


def head(metre: str = "4/4") -> str:
    """Write what stands at the head of a part."""
    beats, kind = metre.split("/")
    return (
        f"<attributes><divisions>2</divisions><time><beats>{beats}</beats>"
        f"<beat-type>{kind}</beat-type></time></attributes>"
    )


def tempo(bpm: int) -> str:
    """Write a tempo that is played and not shown."""
    return f'<direction><direction-type/><sound tempo="{bpm}"/></direction>'


REPEAT = '<barline location="right"><repeat direction="backward"/></barline>'


def musicxml(**parts: Sequence[str]) -> bytes:
    """Write a score of named parts of measures."""
    names = "".join(
        f'<score-part id="P{i}"><part-name>{name}</part-name></score-part>'
        for i, name in enumerate(parts)
    )
    bodies = "".join(
        f'<part id="P{i}">{"".join(measures)}</part>' for i, measures in enumerate(parts.values())
    )
    text = f'<score-partwise version="4.0"><part-list>{names}</part-list>{bodies}</score-partwise>'
    return f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode()


def chorale_score(lowest: int = 2) -> bytes:
    """Write eight bars of soprano and bass in 4/4."""
    steps = "CDEFGAB"
    parts = {}
    for place, name in enumerate(("Soprano", "Bass")):
        parts[name] = [
            measure(
                bar + 1,
                [(f"{steps[(bar + beat * (1 + place)) % 7]}{lowest + 3 - 2 * place}", 1)
                 for beat in range(4)],
                "" if bar else head(),
            )
            for bar in range(8)
        ]  # fmt: skip
    return musicxml(**parts)


def packed(score: bytes) -> bytes:
    """Pack a score as .mxl files are."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "META-INF/container.xml",
            '<container><rootfiles><rootfile full-path="a.xml"/></rootfiles></container>',
        )
        archive.writestr("a.xml", score)
    return file.getvalue()
