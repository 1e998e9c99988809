"""Words that are sung: a syllable for a note, and what ends after it.

A syllable is a text without blanks around it, followed by at most one mark: WORD_END, LINE_END
or VERSE_END. Without a mark its word continues in the next syllable. A note without a syllable is
silent text: `""`, as for a melisma.
"""

import re
import unicodedata

import numpy as np
import numpy.typing as npt

StrArray = npt.NDArray[np.str_]

WORD_END, LINE_END, VERSE_END = " ", "\n", "\f"
MARKS = (WORD_END, LINE_END, VERSE_END)
"""What can end after a syllable, the weakest first."""

LONGEST_SYLLABLE_BYTES = 32
"""In UTF-8; what is longer is cut: no syllable is, but lines of adverts are."""

_BEFORE = re.compile(r"^(\d+[.)]\s*|[-\s/\\@<~_+=*^])+")
_AFTER = re.compile(r"[-\s~_+=^]+$")


def clean_text(text: str) -> str:
    """Return a text as a syllable holds it; "" where nothing is left to sing.

    Composed (NFC), in one line, without the number of a verse, hyphens at its ends and what
    karaoke files mean something by.
    """
    composed = unicodedata.normalize("NFC", text)
    shown = "".join(one if one.isprintable() else " " for one in composed)
    # In bytes, since tokens spell bytes, but not within a character.
    cut = " ".join(shown.split()).encode()[:LONGEST_SYLLABLE_BYTES].decode(errors="ignore")
    text = _AFTER.sub("", _BEFORE.sub("", cut))
    return text if any(one.isalnum() for one in text) else ""


def syllable(text: str, mark: str = "") -> str:
    """Return a syllable of a text and a mark; "" where nothing is left to sing."""
    cleaned = clean_text(text)
    return cleaned + mark if cleaned else ""


def split_mark(syllable: str) -> tuple[str, str]:
    """Return the text and the mark of a syllable."""
    if syllable.endswith(MARKS):
        return syllable[:-1], syllable[-1]
    return syllable, ""


def stronger(syllable: str, mark: str) -> str:
    """Return a syllable with a mark, unless it has a stronger one."""
    text, now = split_mark(syllable)
    order = ("", *MARKS)
    return text + max(now, mark, key=order.index)


def without(count: int) -> StrArray:
    """Return the syllables of notes that have none."""
    return np.full(count, "", np.str_)


def as_text(syllables: StrArray) -> str:
    """Return syllables as a text in lines, a blank one between verses."""
    return "".join(syllables.tolist()).replace(VERSE_END, "\n\n").strip()
