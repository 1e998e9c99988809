"""Counts of what is in a data set (tokens, lengths, instruments), and text histograms of them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from megatron_music.score.instruments import INSTRUMENT_COUNT
from megatron_music.tokenizer.spelling import BYTES, PARTS
from megatron_music.tokenizer.vocabulary import DENSITY_LEVELS, PITCHES, Vocabulary

Counts = npt.NDArray[np.int64]

CONTEXT_TOKENS = (512, 1024, 2048, 4096)
"""The sequence lengths that documents are compared with."""

# There may be millions of lines, and they are always written alike: see `records.line`.
_KEPT_BARS = re.compile(rb'"outcome": "kept", [^\n]*?"bars": (\d+), ')
_PORTION_BYTES = 1 << 24
Rows = Iterable[tuple[str, int]]
WIDTH = 40
_EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True)
class Contents:
    """What is in a data set, all splits together.

    `token_counts` has a cell for each id, `document_tokens` and `piece_bars` one for each length:
    how many there are. All int64.
    """

    vocabulary: Vocabulary
    token_counts: Counts
    document_tokens: Counts
    piece_bars: Counts

    @classmethod
    def added_up(
        cls,
        vocabulary: Vocabulary,
        token_counts: Iterable[Counts],
        document_tokens: Iterable[Counts],
        piece_bars: Counts,
    ) -> "Contents":
        """Return the contents of several splits together."""
        tokens, lengths = (
            reduce(summed, splits, np.zeros(1, np.int64))
            for splits in (token_counts, document_tokens)
        )
        return cls(vocabulary, tokens, lengths, piece_bars)

    @property
    def instruments(self) -> dict[int, int]:
        """How many tracks each instrument's code has, the most frequent first."""
        first = self.vocabulary.inst
        counts = self.token_counts[first : first + INSTRUMENT_COUNT]
        order = np.argsort(-counts, kind="stable")
        return {int(code): int(counts[code]) for code in order if counts[code]}

    @property
    def pitches(self) -> Counts:
        """How many notes each of the 128 pitches has, drums included."""
        first = self.vocabulary.note_on
        return self.token_counts[first : first + PITCHES]

    @property
    def densities(self) -> Counts:
        """How many tracks each density level has; none without densities."""
        first = self.vocabulary.density
        return self.token_counts[first : first + DENSITY_LEVELS]

    @property
    def value_counts(self) -> dict[str, dict[str, int]]:
        """The counts of each value of METRE, VELOCITY, TEMPO and SYLLABLE that the tokens have."""
        v = self.vocabulary
        ranges = {
            "METRE": range(v.metre, v.velocity),
            "VELOCITY": range(v.velocity, v.tempo),
            "TEMPO": range(v.tempo, v.syllable),
            "SYLLABLE": range(v.syllable + BYTES, min(v.syllable + len(PARTS), v.attribute)),
        }
        return {
            kind: {v.tokens[token].partition("=")[2]: int(self.token_counts[token]) for token in of}
            for kind, of in ranges.items()
            if of
        }

    def fitting(self) -> dict[int, float]:
        """Return for each context size the share of documents that it holds whole."""
        whole = np.cumsum(self.document_tokens)
        total = max(int(whole[-1]), 1)
        return {size: float(whole[min(size, len(whole) - 1)] / total) for size in CONTEXT_TOKENS}


def longer_than(lengths: Counts, tokens: int) -> dict[str, int]:
    """Count the documents of more tokens, and their tokens; `lengths[n]` has n tokens each."""
    longer = np.arange(len(lengths)) > tokens
    held = {
        "documents": lengths[longer].sum(),
        "tokens": lengths @ (np.arange(len(lengths)) * longer),
    }
    return {name: int(count) for name, count in held.items()}


def count_bars(path: Path) -> Counts:
    """Count the kept pieces of each length in bars by the lines of `files.jsonl`."""
    counts = np.zeros(1, np.int64)
    with path.open("rb") as file:
        while lines := file.readlines(_PORTION_BYTES):
            bars = np.array(_KEPT_BARS.findall(b"".join(lines)), np.int64)
            counts = summed(counts, np.bincount(bars, minlength=1))
    return counts


def summed(a: Counts, b: Counts) -> Counts:
    """Return counts of two lengths added up."""
    summed = np.zeros(max(len(a), len(b)), np.int64)
    summed[: len(a)] += a
    summed[: len(b)] += b
    return summed


def text_bars(rows: Rows) -> str:
    """Return a line for each label and count: the bar, the count and its share of the whole."""
    listed = list(rows)
    if not listed:
        return "none"
    most, total = max(count for _, count in listed), sum(count for _, count in listed)
    label_width = max(len(label) for label, _ in listed)
    count_width = max(len(f"{count:,}") for _, count in listed)
    lines = []
    for label, count in listed:
        eighths = round(8 * WIDTH * count / max(most, 1))
        # What occurs at all is drawn, however rare it is.
        whole, rest = divmod(max(eighths, 1) if count else 0, 8)
        bar = "█" * whole + (_EIGHTHS[rest] if rest else "")
        share = count / max(total, 1)
        lines.append(f"{label:>{label_width}}  {bar:<{WIDTH}} {count:>{count_width},} {share:6.1%}")
    return "\n".join(lines)


def binned(counts: Counts, edges: Sequence[int]) -> list[tuple[str, int]]:
    """Add up `counts[value]` from edge to edge; the last bin is open.

    Empty bins before the first value and after the last are left out.
    """
    rows = [
        (
            f"{first:,} to {last - 1:,}" if last - 1 > first else f"{first:,}",
            int(counts[first:last].sum()),
        )
        for first, last in pairwise(edges)
    ]
    rows.append((f"{edges[-1]:,} or more", int(counts[edges[-1] :].sum())))
    # Empty bins between others stay: a gap is part of the picture.
    filled = [place for place, (_, count) in enumerate(rows) if count]
    return rows[filled[0] : filled[-1] + 1] if filled else []


def shortened(rows: Rows, most: int) -> list[tuple[str, int]]:
    """Return the first rows as they are and the rest as one."""
    listed = list(rows)
    rest = listed[most:]
    if len(rest) < 2:
        return listed
    return [*listed[:most], (f"{len(rest)} others", sum(count for _, count in rest))]
