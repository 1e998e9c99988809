"""Given words: divide a text into syllables, and lay the syllables into bars."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import NamedTuple

import pyphen

from megatron_music.errors import UsageError
from megatron_music.score.words import (
    LINE_END,
    LONGEST_SYLLABLE_BYTES,
    VERSE_END,
    WORD_END,
    clean_text,
)

Lines = tuple[tuple[str, ...], ...]
"""The syllables of each line of a text, or of each bar, with their marks; see `score.words`."""


class LaidWords(NamedTuple):
    """The syllables of each bar; the last `upbeats[bar]` of them begin the line of the next bar.

    An upbeat begins at the step `upbeat_step` of its bar at the earliest, other syllables before.
    """

    bars: Lines
    upbeats: tuple[int, ...]
    upbeat_step: int


MOST_WORDS_BYTES = 20_000
"""The longest text; no song has more."""
USUAL_SYLLABLES = 4
"""The syllables of a bar where the number of bars is not given."""
LONGEST_UPBEAT = 4
"""The most syllables of an upbeat: half a bar of eighths."""
STEPS_PER_SYLLABLE = 2
"""The least steps of a syllable: an eighth note on a grid of four steps a quarter."""

_EDGES = re.compile(r"(\W*)(.*?)(\W*)", re.DOTALL)
_HYPHENS = re.compile("[-\N{SOFT HYPHEN}\N{HYPHEN}]")
_USUAL = {"en": "en_US"}
"""The dictionary of languages that have several; pyphen's own choice divides fewer words."""
_ALONE = ("CJK ", "HIRAGANA ", "KATAKANA ", "HANGUL ")
"""Prefixes of the Unicode names of letters that are a syllable each."""


def read_words(path: Path) -> str:
    """Return the text of a file; raises UsageError where it is not a text."""
    try:
        # One byte more than a text may have: the check is in `syllables_of`.
        with path.open("rb") as file:
            return file.read(MOST_WORDS_BYTES + 1).decode("utf-8-sig", "strict")
    except OSError as fault:
        raise UsageError(f"cannot read {path} ({fault.strerror}); give a file of text") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not text in UTF-8, or too long; save it as UTF-8") from None


@lru_cache(maxsize=8)
def syllables_of(text: str, language: str) -> Lines:
    """Return the syllables of a text by line; an empty line ends a verse.

    A word with hyphens is divided there alone, others as pyphen hyphenates the language. Raises
    UsageError for a language that pyphen does not know, and where nothing can be sung.
    """
    if len(text.encode()) > MOST_WORDS_BYTES:
        raise UsageError(f"the words have more than {MOST_WORDS_BYTES:,} bytes; give fewer")
    name = language.strip().replace("-", "_")
    known = pyphen.language_fallback(_USUAL.get(name, name)) if name else None
    if known is None:
        near = name[:2].lower()
        hint = f"did you mean {near}? There are" if near in pyphen.LANGUAGES else "there are"
        names = ", ".join(sorted(one for one in pyphen.LANGUAGES if "_" not in one))
        raise UsageError(f"`language` {language!r} has no hyphenation here; {hint} {names}")
    hyphenation = pyphen.Pyphen(lang=known)
    lines: list[list[str]] = []
    ends: list[str] = []
    for line in text.splitlines():
        sung: list[str] = []
        for word in line.split():
            parts = _divided(word, hyphenation)
            sung += [*parts[:-1], *(part + WORD_END for part in parts[-1:])]
        if sung:
            lines.append([*sung[:-1], sung[-1].removesuffix(WORD_END)])
            ends.append(LINE_END)
        elif ends:
            ends[-1] = VERSE_END
    if not lines:
        raise UsageError("`words` has nothing to sing; give a text with letters")
    return tuple((*sung[:-1], sung[-1] + end) for sung, end in zip(lines, ends, strict=True))


def _divided(word: str, hyphenation: pyphen.Pyphen) -> list[str]:
    """Return the syllables of a word, without those that have nothing to sing."""
    parts = [part for part in _HYPHENS.split(word) if part]
    if len(parts) < 2 and any(unicodedata.name(one, "").startswith(_ALONE) for one in word):
        # Each letter is a syllable, with the signs that follow it.
        parts = []
        for one in word:
            if one.isalnum() or not parts:
                parts.append(one)
            else:
                parts[-1] += one
    elif len(parts) < 2:
        edges = _EDGES.fullmatch(word)
        before, middle, after = edges.groups() if edges else ("", word, "")
        places = [0, *map(int, hyphenation.positions(middle)), len(middle)]
        parts = [middle[first:last] for first, last in pairwise(places)]
        parts[0], parts[-1] = before + parts[0], parts[-1] + after
        # Of a word of one syllable both edges have just been put to the same part.
        parts = parts if len(parts) > 1 else [word]
    for part in parts:
        if len(part.encode()) > LONGEST_SYLLABLE_BYTES:
            raise UsageError(
                f"the syllable {part[:16]!r}... of `words` has more than {LONGEST_SYLLABLE_BYTES} "
                "bytes; divide it by hyphens"
            )
    return [cleaned for part in parts if (cleaned := clean_text(part))]


def usual_bars(lines: Lines, upbeat: int = 0) -> int:
    """Return the usual number of bars of a text, including one for the first upbeat."""
    rests = [line[_upbeat_of(line, upbeat) :] for line in lines]
    return sum(ceil(len(rest) / USUAL_SYLLABLES) for rest in rests) + bool(upbeat)


def lay_words(
    lines: Lines, bars: int, steps: int, upbeat: int = 0, steps_per_quarter: int = 4
) -> LaidWords:
    """Return the syllables of each bar; all bars have `steps` steps.

    Each line has bars of its own where there are enough, more syllables before than after. With an
    `upbeat` that number of each line's syllables come at the end of the bar before, and the first
    bar has those of the first line alone. Raises UsageError where a bar is too short for its
    syllables, or bars are too few for lines with an upbeat.
    """
    shortest = upbeat * STEPS_PER_SYLLABLE
    if 2 * shortest > steps:
        raise UsageError(
            f"an `upbeat` of {upbeat} syllables is over half a bar; give a shorter one"
        )
    # A quarter note for each syllable, unless these are over half a bar.
    upbeat_step = steps - max(shortest, min(upbeat * steps_per_quarter, steps // 2))
    laid = _laid(lines, bars, upbeat, upbeat_step)
    if _fits(laid, steps):
        return laid
    # Only for the message: the least number of bars that would do.
    needed = bars
    while not _fits(_laid(lines, needed, upbeat, upbeat_step), steps):
        needed += 1
    most = steps // STEPS_PER_SYLLABLE
    raise UsageError(
        f"the {sum(map(len, lines))} syllables of `words` do not fit into {bars} bars, at most "
        f"{most} a bar; give `bars` {needed} or more, or fewer words"
    )


def _upbeat_of(line: tuple[str, ...], upbeat: int) -> int:
    """Return the number of syllables in a line's upbeat; at least one syllable is left after it."""
    return min(upbeat, len(line) - 1)


def _fits(laid: LaidWords, steps: int) -> bool:
    """Tell whether each bar has time for its syllables; False without bars."""
    return bool(laid.bars) and all(
        (len(bar) - upbeat) * STEPS_PER_SYLLABLE <= (laid.upbeat_step if upbeat else steps)
        for bar, upbeat in zip(laid.bars, laid.upbeats, strict=True)
    )


def _laid(lines: Lines, bars: int, upbeat: int, upbeat_step: int) -> LaidWords:
    """Return words laid into bars; no bars where lines with an upbeat would have to share a bar."""
    upbeats = [_upbeat_of(line, upbeat) for line in lines]
    rests = [line[first:] for line, first in zip(lines, upbeats, strict=True)]
    lead = int(any(upbeats))
    if bars - lead < len(lines):
        flat = () if lead else _spread(tuple(one for line in lines for one in line), bars)
        return LaidWords(flat, (0,) * len(flat), upbeat_step)
    laid: list[tuple[str, ...]] = [()] * lead
    of_next = [0] * lead
    shares = _shares([len(rest) for rest in rests], bars - lead)
    for line, rest, first, share in zip(lines, rests, upbeats, shares, strict=True):
        if first:
            laid[-1] += line[:first]
            of_next[-1] = first
        laid += _spread(rest, share)
        of_next += [0] * share
    return LaidWords(tuple(laid), tuple(of_next), upbeat_step)


def _shares(lengths: Sequence[int], bars: int) -> list[int]:
    """Return the number of bars of each line, in proportion to its syllables; at least one."""
    shares = [max(1, length * bars // sum(lengths)) for length in lengths]

    def bars_per_syllable(line: int) -> float:
        return shares[line] / lengths[line]

    while sum(shares) > bars:  # of those with most bars for their syllables
        shares[max((i for i, n in enumerate(shares) if n > 1), key=bars_per_syllable)] -= 1
    while sum(shares) < bars:
        shares[min(range(len(shares)), key=bars_per_syllable)] += 1
    return shares


def _spread(sung: tuple[str, ...], bars: int) -> Lines:
    edges = [ceil(len(sung) * bar / bars) for bar in range(bars + 1)]
    return tuple(sung[first:last] for first, last in pairwise(edges))
