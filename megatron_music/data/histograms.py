"""Histograms as text: bars of blocks that any reader of Markdown shows alike."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Rows = Iterable[tuple[str, int]]

WIDTH = 40
_EIGHTHS = " ▏▎▍▌▋▊▉"


def text_bars(rows: Rows) -> str:
    """Return a line for each label and count: the bar, the count and its share of the whole."""
    listed = list(rows)
    if not listed:
        return "none"
    most, total = max(count for _, count in listed), sum(count for _, count in listed)
    label_width = max(len(label) for label, _ in listed)
    count_width = max(len(f"{count:,}") for _, count in listed)
    return "\n".join(
        f"{label:>{label_width}}  {_bar(count, most):<{WIDTH}} {count:>{count_width},} "
        f"{count / max(total, 1):6.1%}"
        for label, count in listed
    )


def _bar(count: int, most: int) -> str:
    eighths = round(8 * WIDTH * count / max(most, 1))
    eighths = max(eighths, 1) if count else 0
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def binned(counts: Counts, edges: Sequence[int]) -> list[tuple[str, int]]:
    """Add up `counts[value]` from edge to edge; the last bin is open.

    Empty bins before the first value and behind the last are left out.
    """
    rows = [
        (_span(first, last - 1), int(counts[first:last].sum())) for first, last in pairwise(edges)
    ]
    rows.append((f"{edges[-1]:,} or more", int(counts[edges[-1] :].sum())))
    filled = [place for place, (_, count) in enumerate(rows) if count]
    return rows[filled[0] : filled[-1] + 1] if filled else []


def _span(first: int, last: int) -> str:
    return f"{first:,} to {last:,}" if last > first else f"{first:,}"


def shortened(rows: Rows, most: int) -> list[tuple[str, int]]:
    """Return the first rows as they are and the rest as one."""
    listed = list(rows)
    rest = listed[most:]
    if len(rest) < 2:
        return listed
    return [*listed[:most], (f"{len(rest)} others", sum(count for _, count in rest))]
