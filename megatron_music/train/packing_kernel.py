"""Pack documents whole into rows of a fixed number of tokens, compiled."""

import numpy as np
import numpy.typing as npt

from megatron_music.score.jit import kernel

IntArray = npt.NDArray[np.int64]


@kernel
def best_fit(lengths: npt.NDArray[np.int32], order: IntArray, row_tokens: int) -> IntArray:
    """Return the row of each document, -1 for those that are not in `order`.

    Each document goes into the row with the least free space that holds it, else into a new one.
    `order` lists documents by decreasing length, none longer than a row.
    """
    row_of = np.full(len(lengths), -1, np.int64)
    # Rows with the same free space form a linked list: newest[free], then older[row].
    newest = np.full(row_tokens + 1, -1, np.int64)
    older = np.empty(len(order), np.int64)
    rows, largest_free = 0, 0
    for document in order:
        length = lengths[document]
        free = length
        while free <= largest_free and newest[free] < 0:
            free += 1
        if free > largest_free:
            largest_free = min(largest_free, length - 1)  # no row holds this much any more
            row, free = rows, row_tokens
            rows += 1
        else:
            row = newest[free]
            newest[free] = older[row]
        row_of[document] = row
        left = free - length
        older[row] = newest[left]
        newest[left] = row
        largest_free = max(largest_free, left)
    return row_of
