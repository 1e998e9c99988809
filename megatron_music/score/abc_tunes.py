"""The tunes of ABC files, and each as music21 understands it.

Music21 reads the fields of a tune only on lines of their own, knows no third endings, and finds no
bars where there are fewer than two single barlines.
"""

import re
from collections.abc import Sequence

from megatron_music.errors import ScoreError
from megatron_music.score.metre import check_metre

_TUNE = re.compile(r"^X:[ \t]*(\S*)", re.MULTILINE)
_KEY_LINE = re.compile(r"^K:.*$", re.MULTILINE)
_METRE = re.compile(r"(?:^|\[)M:\s*(\d+)/(\d+)", re.MULTILINE)
_METRE_SUM = re.compile(r"(?<=M:)\s*\(?(\d+(?:\s*\+\s*\d+)+)\)?(?=\s*/)")
_FIELD = re.compile(r"[A-Za-z]:(?![|:])|%%")
"""A line that is no music: a field or a directive."""
_REMARKS = ("m:", "r:", "s:")
_FIELDS_TWICE = ("K:", "L:", "M:", "Q:")
_INLINE_FIELD = re.compile(r"\[([KLMQV]:[^\]]*)\]")
_PLAINER = (
    # Fields in brackets that change no note, and decorations in their old form.
    (re.compile(r"\[[A-Za-z]:[^\]]*\]|\+[a-z]+\+"), ""),
    # Of tunes with few single barlines music21 tells no bars: double ones count as well.
    (re.compile(r"\|\|"), "|"),
    # A note before a colon is not the letter of a field.
    (re.compile(r"([A-G])(?=:)"), r"\1 "),
    # Hidden rests take time.
    (re.compile(r'(?<!["!])x(?!!)'), "z"),
)
"""What music21 mistakes in lines of music, and what it reads in their place."""
_OVERLAY = re.compile(r'^[^"&]*(?:"[^"]*"[^"&]*)*&')
_BARLINE_LAST = re.compile(r"([|:]|\|\]|[|\[][12])\s*$")

_QUOTED = re.compile(r'"[^"\n]*"')
_ENDING = re.compile(r"(?:\[|(?<=\|))([1-9](?:[,-][1-9])*)(?![\d/])")
"""The mark of an ending and the passes that it is played in: `[1`, `|2`, `|1,3`, `[1-3`."""
_REPEAT = re.compile(r"(\|+:|:\|*:|:\|+\]?(?!\s*[|\[]?[1-9]))")
"""Where a repeat begins, or ends without a further ending."""
_REPEAT_END = re.compile(r":\|+\]?\s*$")
_SINGLE_BARLINE = re.compile(r"(?<![|:\[])\|(?![|:\]])|\[[12]")
_NOTE = re.compile(r"[A-Ga-gz]")
_MOST_NOTES_OF_SHORT = 32
"""Of two bars. In longer tunes with a single barline the others are missing."""
_IN_FORCE = re.compile(r"^[KLM]:.*$", re.MULTILINE)


def decoded(raw: bytes) -> str:
    """Return the text of a file of ABC or kern."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def split_tunes(raw: bytes) -> list[bytes]:
    """Return the tunes of an ABC file, each after the header that all of them share."""
    return list(tunes_by_heading(raw).values())


def tunes_by_heading(raw: bytes) -> dict[str, bytes]:
    """Return the tunes of an ABC file by their numbers and lines, such as `X:3, line 41`."""
    text = decoded(raw)
    found = list(_TUNE.finditer(text))
    if len(found) < 2:
        return {"": raw}
    starts = [match.start() for match in found]
    header, line, tunes = text[: starts[0]], 1 + text.count("\n", 0, starts[0]), {}
    for match, start, end in zip(found, starts, [*starts[1:], len(text)], strict=True):
        tunes[f"X:{match[1]}, line {line}"] = (header + text[start:end]).encode()
        line += text.count("\n", start, end)
    return tunes


def plain_abc(tune: str) -> str:
    """Return an ABC tune as music21 understands it: with fields on lines, voice after voice.

    Without a unit of length and a metre that tells it, notes are eighths. Raises ScoreError.
    """
    # The metre of 3+2+2 eighths is 7/8.
    tune = _METRE_SUM.sub(lambda of: str(sum(map(int, of[1].split("+")))), tune)
    for metre in _METRE.finditer(tune):
        check_metre(int(metre[1]), int(metre[2]))
    key_line = _KEY_LINE.search(tune)
    if key_line is None:
        raise ScoreError(
            "is no ABC: no line begins with K:, which each tune needs; export it again", "foreign"
        )
    head = [line for line in tune[: key_line.start()].splitlines() if not line.startswith("V:")]
    has_length = any(re.match(r"L:|M:(?!\s*none)", line) for line in head)
    head += [key_line[0]] if has_length else ["L:1/8", key_line[0]]
    first = [line for line in head if re.match("[KLMQ]:", line)]
    voices = _voices(tune[key_line.end() :])
    music = [
        _QUOTED.sub("", "\n".join(line for line in lines if not _FIELD.match(line)))
        for lines in voices
    ]
    endings = [_ENDING.findall(notes) for notes in music]
    # Where only one voice has the endings, writing them out would part it from the others.
    has_more = set(endings[0]) - {"1", "2"} and all(one == endings[0] for one in endings)
    # Without a metre music21 lays music out in 4/4, if it finds no bars.
    has_metre = any(re.match(r"M:(?!\s*none)", field) for field in first)
    plain = head
    for number, (lines, notes) in enumerate(zip(voices, music, strict=True), 1):
        has_bars = len(_SINGLE_BARLINE.findall(notes)) >= 2
        is_long = len(_NOTE.findall(notes)) > _MOST_NOTES_OF_SHORT
        is_short = has_metre and "|" in notes and not has_bars and not is_long
        if len(voices) > 1:
            # Music21 goes on with what the voice before ended with: each begins as the tune does.
            plain += [f"V:{number}", *first]
        plain += _written_out(lines, first, is_short) if has_more or is_short else lines
        # Barlines that follow each other begin no further bar.
        plain += ["| |"] * is_short
    return "\n".join(plain) + "\n"


def _voices(body: str) -> list[list[str]]:
    """Return the lines of each voice of a tune's body, fields on lines of their own.

    A tune without voices is one. Raises ScoreError.
    """
    shared: list[str] = []
    voices: dict[str, list[str]] = {}
    lines = shared
    for line in body.splitlines():
        code = line if line.startswith("%%") else line.partition("%")[0].strip()
        if code.startswith(_REMARKS):
            continue
        is_field = _FIELD.match(code)
        if not is_field and _OVERLAY.match(code):
            raise ScoreError(
                "has bars of several voices in one line (&), which are not read; write each voice "
                "after a V: of its own",
                "foreign",
            )
        # Music is at even places, fields at odd ones.
        for place, written in enumerate(["", code] if is_field else _INLINE_FIELD.split(code)):
            if not written.strip():
                continue
            piece = written
            for pattern, plain in _PLAINER if place % 2 == 0 else ():
                piece = pattern.sub(plain, piece)
            if piece.startswith("V:"):
                lines = voices.setdefault(piece[2:].split()[0] if piece[2:].strip() else "", [])
            elif piece[:2] in _FIELDS_TWICE:
                before = next((one for one in reversed(lines) if not _FIELD.match(one)), "|")
                begins_bar, is_metre = _BARLINE_LAST.search(before), piece[0] == "M"
                # A metre begins a bar. Of a single field after a barline music21 takes no notice.
                lines += ["|"] * (is_metre and not begins_bar)
                lines += [piece, piece] if is_metre or begins_bar else [piece]
            else:
                lines.append(piece)
    has_music = any(not _FIELD.match(line) for line in shared)
    each = [shared + own for own in voices.values()]
    return [shared, *voices.values()] if has_music else each or [shared]


def _written_out(lines: Sequence[str], first: Sequence[str], is_short: bool) -> list[str]:
    """Return a voice with each repeat as often as it is played that has a third ending, or more.

    Where the voice is short, that is each repeat: music21 repeats no single bar. `first` are the
    fields in force where it begins.
    """
    in_force = {line[0]: line for line in first if line[0] in "KLM"}
    # Strains are at even places, the signs between them at odd ones.
    strains = [*_REPEAT.split(_QUOTED.sub("", "\n".join(lines))), ""]
    for place in range(0, len(strains), 2):
        strain, sign = strains[place : place + 2]
        body, *endings = _ENDING.split(strain)
        # An ending is played in these passes: in 1, 2 and 3 of `1-3`, in 1 and 3 of `1,3`.
        ranges = [[sorted(part.split("-")) for part in mark.split(",")] for mark in endings[::2]]
        passes = [
            [turn for of in one for turn in range(int(of[0]), int(of[-1]) + 1)] for one in ranges
        ]
        if not passes and is_short and sign.startswith(":"):
            endings, passes = ["", "|"], [[1, 2]]
        if any(one not in ([1], [2]) for one in passes):
            again = "\n".join(line for line in in_force.values() for _ in range(2))
            starts_anew = f"\n{again}\n" if _IN_FORCE.search(strain) else ""
            strains[place] = starts_anew.join(
                body + _REPEAT_END.sub("|", text)
                for turn in sorted({turn for one in passes for turn in one})
                for one, text in zip(passes, endings[1::2], strict=True)
                if turn in one
            )
            # The signs around it no longer repeat anything of it.
            strains[place + 1] = "|:" if sign.endswith(":") else "|" * bool(sign)
            if place:
                strains[place - 1] = ":|" if strains[place - 1].startswith(":") else "|"
        in_force |= {line[0]: line for line in _IN_FORCE.findall(strain)}
    return "".join(strains).splitlines()
