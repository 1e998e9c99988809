"""Words that are given: a text in syllables, and which of them each bar of a song has."""

import re
import unicodedata
from itertools import pairwise
from math import ceil
from pathlib import Path

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

MOST_WORDS_BYTES = 20_000
"""Of a text: more than any song has."""
USUAL_SYLLABLES = 4
"""Of a bar, where nobody says how many bars there are."""
STEPS_PER_SYLLABLE = 2
"""Of the grid, at least: an eighth note on the grid of four steps a quarter."""

_EDGES = re.compile(r"(\W*)(.*?)(\W*)", re.DOTALL)
_HYPHENS = re.compile("[-\N{SOFT HYPHEN}\N{HYPHEN}]")
_USUAL = {"en": "en_US"}
"""The dictionary of a language that has several: pyphen's own choice divides less."""
_ALONE = ("CJK ", "HIRAGANA ", "KATAKANA ", "HANGUL ")
"""How the names of letters begin that are a syllable each."""


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


def syllables_of(text: str, language: str) -> Lines:
    """Return the syllables of a text by line; an empty line ends a verse.

    A word with hyphens is divided there alone, others as pyphen hyphenates the language. Raises
    UsageError for a language that pyphen does not know, and where nothing can be sung.
    """
    if len(text.encode()) > MOST_WORDS_BYTES:
        raise UsageError(f"the words have more than {MOST_WORDS_BYTES:,} bytes; give fewer")
    hyphenation = _hyphenation(language)
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


def _hyphenation(language: str) -> pyphen.Pyphen:
    wanted = language.strip().replace("-", "_")
    known = pyphen.language_fallback(_USUAL.get(wanted, wanted)) if wanted else None
    if known is None:
        near = wanted[:2].lower()
        hint = f"did you mean {near}? There are" if near in pyphen.LANGUAGES else "there are"
        names = ", ".join(sorted(one for one in pyphen.LANGUAGES if "_" not in one))
        raise UsageError(f"`language` {language!r} has no hyphenation here; {hint} {names}")
    return pyphen.Pyphen(lang=known)


def _divided(word: str, hyphenation: pyphen.Pyphen) -> list[str]:
    """Return the syllables of a word, without those that have nothing to sing."""
    written = [part for part in _HYPHENS.split(word) if part]
    parts = written if len(written) > 1 else _hyphenated(word, hyphenation)
    for part in parts:
        if len(part.encode()) > LONGEST_SYLLABLE_BYTES:
            raise UsageError(
                f"the syllable {part[:16]!r}... of `words` has more than {LONGEST_SYLLABLE_BYTES} "
                "bytes; divide it by hyphens"
            )
    return [cleaned for part in parts if (cleaned := clean_text(part))]


def _hyphenated(word: str, hyphenation: pyphen.Pyphen) -> list[str]:
    if any(unicodedata.name(one, "").startswith(_ALONE) for one in word):
        return _letters(word)
    edges = _EDGES.fullmatch(word)
    before, middle, behind = edges.groups() if edges else ("", word, "")
    places = [0, *map(int, hyphenation.positions(middle)), len(middle)]
    parts = [middle[first:last] for first, last in pairwise(places)]
    parts[0], parts[-1] = before + parts[0], parts[-1] + behind
    return parts if len(parts) > 1 else [word]


def _letters(word: str) -> list[str]:
    """Return each letter with the signs that follow it."""
    parts: list[str] = []
    for one in word:
        if one.isalnum() or not parts:
            parts.append(one)
        else:
            parts[-1] += one
    return parts


def usual_bars(lines: Lines) -> int:
    """Return how many bars a text has where nobody says."""
    return sum(ceil(len(line) / USUAL_SYLLABLES) for line in lines)


def lay_words(lines: Lines, bars: int, steps: int) -> Lines:
    """Return the syllables of each of so many bars of so many steps.

    Each line has bars of its own where there are enough, more syllables before than behind. Raises
    UsageError where a bar would have more syllables than there is time for.
    """
    laid = _laid(lines, bars)
    most = steps // STEPS_PER_SYLLABLE
    if max(map(len, laid)) <= most:
        return laid
    count, needed = sum(map(len, lines)), bars
    while max(map(len, _laid(lines, needed))) > most:
        needed += 1
    raise UsageError(
        f"the {count} syllables of `words` do not fit into {bars} bars, at most {most} a bar; give "
        f"`bars` {needed} or more, or fewer words"
    )


def _laid(lines: Lines, bars: int) -> Lines:
    if bars < len(lines):
        return _spread(tuple(one for line in lines for one in line), bars)
    count = sum(map(len, lines))
    shares = [max(1, len(line) * bars // count) for line in lines]
    while sum(shares) > bars:  # of those with most bars for their syllables
        chosen = max(
            (i for i, n in enumerate(shares) if n > 1), key=lambda i: _room(i, lines, shares)
        )
        shares[chosen] -= 1
    while sum(shares) < bars:
        chosen = min(range(len(lines)), key=lambda i: _room(i, lines, shares))
        shares[chosen] += 1
    return tuple(bar for line, n in zip(lines, shares, strict=True) for bar in _spread(line, n))


def _room(line: int, lines: Lines, shares: list[int]) -> float:
    return shares[line] / len(lines[line])


def _spread(sung: tuple[str, ...], bars: int) -> Lines:
    edges = [ceil(len(sung) * bar / bars) for bar in range(bars + 1)]
    return tuple(sung[first:last] for first, last in pairwise(edges))
