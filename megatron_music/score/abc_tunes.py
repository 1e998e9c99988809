"""The tunes of ABC files, and each as music21 understands it.

Music21 reads the fields of a tune only on lines of their own, knows no third endings, and finds no
bars where there are fewer than two single barlines.
"""

import re
from collections.abc import Iterator, Sequence

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
_INLINE_REMARK = re.compile(r"\[[A-Za-z]:[^\]]*\]|\+[a-z]+\+")
"""Fields in brackets that change no note, and decorations in their old form."""
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
    voices = _played_voices(_voices(tune[key_line.end() :]), first)
    if len(voices) == 1:
        return "\n".join([*head, *voices[0]]) + "\n"
    # Each voice begins as the tune does: music21 goes on with what the voice before ended with.
    numbered = [[f"V:{number}", *first, *own] for number, own in enumerate(voices, 1)]
    return "\n".join([*head, *(line for own in numbered for line in own)]) + "\n"


def _voices(body: str) -> list[list[str]]:
    """Return the lines of each voice of a tune's body; a tune without voices is one."""
    shared: list[str] = []
    voices: dict[str, list[str]] = {}
    lines = shared
    for piece in _pieces(body):
        if piece.startswith("V:"):
            lines = voices.setdefault(piece[2:].split()[0] if piece[2:].strip() else "", [])
        elif piece[:2] in _FIELDS_TWICE:
            before = next((one for one in reversed(lines) if not _FIELD.match(one)), "|")
            begins_bar = bool(_BARLINE_LAST.search(before))
            # A metre begins a bar. Of a single field after a barline music21 takes no notice.
            if piece[0] == "M" and not begins_bar:
                lines.append("|")
            lines += [piece, piece] if piece[0] == "M" or begins_bar else [piece]
        else:
            lines.append(piece)
    if any(not _FIELD.match(line) for line in shared):
        return [shared, *voices.values()]
    return [shared + own for own in voices.values()] or [shared]


def _pieces(body: str) -> Iterator[str]:
    """Give the fields of an ABC tune's body, those inside lines too, and the music between them."""
    for line in body.splitlines():
        code = line if line.startswith("%%") else line.partition("%")[0].strip()
        if not code or code.startswith(_REMARKS):
            continue
        if _FIELD.match(code):
            yield code
            continue
        if _OVERLAY.match(code):
            raise ScoreError(
                "has bars of several voices in one line (&), which are not read; write each voice "
                "after a V: of its own",
                "foreign",
            )
        # Odd places hold what the parentheses of the pattern hold: fields.
        for place, piece in enumerate(_INLINE_FIELD.split(code)):
            if not piece.strip():
                continue
            if place % 2:
                yield piece
                continue
            # Of tunes with few single barlines music21 tells no bars: double ones count as well.
            plain = _INLINE_REMARK.sub("", piece).replace("||", "|")
            # A note before a colon is not the letter of a field, and hidden rests take time.
            yield re.sub(r'(?<!["!])x(?!!)', "z", re.sub(r"([A-G])(?=:)", r"\1 ", plain))


def _played_voices(voices: Sequence[Sequence[str]], first: Sequence[str]) -> list[list[str]]:
    """Return the voices with bars that music21 finds, and with third endings written out.

    `first` are the fields in force where the voices begin.
    """
    texts = ["\n".join(lines) for lines in voices]
    music = [
        _QUOTED.sub("", "\n".join(line for line in lines if not _FIELD.match(line)))
        for lines in voices
    ]
    endings = [_ENDING.findall(text) for text in music]
    # Where only one voice has the endings, writing them out would part it from the others.
    has_more = set(endings[0]) - {"1", "2"} and all(one == endings[0] for one in endings)
    # Without a metre music21 lays music out in 4/4, if it finds no bars.
    has_metre = any(re.match(r"M:(?!\s*none)", field) for field in first)
    played = []
    for text, notes in zip(texts, music, strict=True):
        has_bars = len(_SINGLE_BARLINE.findall(notes)) >= 2
        is_long = len(_NOTE.findall(notes)) > _MOST_NOTES_OF_SHORT
        is_short = has_metre and "|" in notes and not has_bars and not is_long
        written = _written_out(text, first, is_short) if has_more or is_short else text
        # Barlines that follow each other begin no further bar.
        played.append([*written.splitlines(), *["| |"] * is_short])
    return played


def _written_out(voice: str, first: Sequence[str], is_short: bool) -> str:
    """Return a voice with each repeat as often as it is played that has a third ending, or more.

    Where the voice is short, that is each repeat: music21 repeats no single bar.
    """
    in_force = {line[0]: line for line in first if line[0] in "KLM"}
    # Strains are at even places, the signs between them at odd ones.
    strains = [*_REPEAT.split(_QUOTED.sub("", voice)), ""]
    for place in range(0, len(strains), 2):
        strain, sign = strains[place : place + 2]
        body, *endings = _ENDING.split(strain)
        passes = [_passes(mark) for mark in endings[::2]]
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
    return "".join(strains)


def _passes(mark: str) -> list[int]:
    """Return the passes of an ending's mark: of `1,3` the first and the third."""
    passes: list[int] = []
    for part in mark.split(","):
        ends = sorted(map(int, part.split("-")))
        passes += range(ends[0], ends[-1] + 1)
    return passes
