"""Spell syllables in bytes, and in longer pieces that are frequent in a collection.

Pieces are learned by byte-pair encoding (Sennrich et al., arXiv 1508.07909) over the characters of
the training syllables, and applied in the order in which they were learned. Every text can be
spelled: what no piece covers is spelled in the bytes of UTF-8.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from megatron_music.score.words import MARKS, split_mark, syllable

FIRST_BYTE = 0x20
"""The bytes that a syllable can have in UTF-8: none of a control character."""

BYTES = 0x100 - FIRST_BYTE
PARTS = (
    *(chr(one) if 0x20 < one < 0x7F else f"<{one:02X}>" for one in range(FIRST_BYTE, 0x100)),
    *("WORD_END", "LINE_END", "VERSE_END"),
)
"""The names of BYTES bytes, then of the MARKS; the pieces of a vocabulary follow."""

_FEWEST = 2
"""The least occurrences of a piece in the training syllables."""
_MOST_TEXTS = 10_000
"""The most frequent syllables decide: learning takes a few seconds at most."""

_Word = tuple[str, ...]


class Spelling:
    """Syllables as parts and back; a part is a byte, a mark or one of the `pieces`."""

    def __init__(self, pieces: Sequence[str] = ()) -> None:
        self.parts: tuple[str, ...] = (*PARTS, *pieces)
        self._ranks = {piece: rank for rank, piece in enumerate(pieces)}
        self._bytes = (
            *(bytes([one]) for one in range(FIRST_BYTE, 0x100)),
            *(b"" for _ in MARKS),
            *(piece.encode() for piece in pieces),
        )
        self.lengths_bytes = tuple(map(len, self._bytes))
        """Of each part; 0 for a mark."""
        self._spelled: dict[str, list[int]] = {}

    def spell(self, sung: str) -> list[int]:
        """Return a syllable as indices in `parts`; none for no syllable."""
        text, mark = split_mark(sung)
        if text not in self._spelled:
            # Its characters, joined to pieces: the pair that was learned first, as long as one is.
            pieces = list(text)
            while len(pieces) > 1:
                ranks = [self._ranks.get(a + b, len(self._ranks)) for a, b in pairwise(pieces)]
                place = ranks.index(min(ranks))
                if ranks[place] == len(self._ranks):
                    break
                pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
            parts: list[int] = []
            for piece in pieces:
                if piece in self._ranks:
                    parts.append(len(PARTS) + self._ranks[piece])
                else:
                    parts += [byte - FIRST_BYTE for byte in piece.encode()]
            self._spelled[text] = parts
        return [
            *self._spelled[text],
            *(BYTES + place for place, one in enumerate(MARKS) if one == mark),
        ]

    def spelled(self, parts: Sequence[int]) -> str:
        """Return the syllable that indices in `parts` spell, without bytes that are not UTF-8."""
        text = b"".join(self._bytes[part] for part in parts).decode(errors="ignore")
        marks = [MARKS[part - BYTES] for part in parts if BYTES <= part < len(PARTS)]
        return syllable(text, *marks[:1])


def learn_pieces(counts: Mapping[str, int], most: int) -> tuple[str, ...]:
    """Return at most `most` pieces of texts with these counts, in the order of joining.

    Characters of several bytes come first.
    """
    # Not by the trainer of `tokenizers`: it takes texts one by one instead of counts, and of pairs
    # that are as frequent it joins others first, so that the same data would get other tokens.
    frequent = sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:_MOST_TEXTS]
    words: Counter[_Word] = Counter({tuple(text): count for text, count in frequent})
    letters = Counter[str]()
    for word, count in words.items():
        letters.update({one: count * word.count(one) for one in {*word} if not one.isascii()})
    often = [one for one in letters if letters[one] >= _FEWEST]
    pieces = dict.fromkeys(sorted(often, key=lambda one: (-letters[one], one))[:most])
    while len(pieces) < most:
        pairs = Counter[_Word]()
        for word, count in words.items():
            for pair in pairwise(word):
                pairs[pair] += count
        best = max(
            (pair for pair in pairs if "".join(pair) not in PARTS),
            key=lambda pair: (pairs[pair], pair),
            default=None,
        )
        if best is None or pairs[best] < _FEWEST:
            break
        pieces["".join(best)] = None
        joined = Counter[_Word]()
        for word, count in words.items():
            parts, place = [], 0
            while place < len(word):
                size = 2 if word[place : place + 2] == best else 1
                parts.append("".join(word[place : place + size]))
                place += size
            joined[tuple(parts)] = count
        words = joined
    return tuple(pieces)
