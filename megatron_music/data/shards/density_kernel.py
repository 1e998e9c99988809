"""Find the notes a bar that densities are cut from, and put density levels in place; compiled."""

import numpy as np
import numpy.typing as npt

from megatron_music.score.jit import kernel, wide
from megatron_music.tokenizer.document_columns import DocumentColumns, Rates
from megatron_music.tokenizer.vocabulary import PITCHES


@kernel
def settle(
    documents: DocumentColumns,
    splits: npt.NDArray[np.int8],
    edges: npt.NDArray[np.float64],
    density: np.uint16,
    levels: np.uint16,
    counts: npt.NDArray[np.int64],
) -> None:
    """Put density levels where documents have placeholders; add to `counts` [split, any uint16].

    `splits` has the split of each document; those below 0 are in none, stay as they are and are
    not counted. The `levels` tokens from `density` on are densities, cut by `edges` as
    `codec.density_levels` does.
    """
    tokens, lengths, tracks, _, rates = documents
    start = first_track = 0
    for document in range(len(lengths)):
        end = start + lengths[document]
        track, first_track = first_track, first_track + tracks[document]
        split = splits[document]
        if split >= 0:
            # As they come, unsigned: an index that may be negative takes twice as long.
            row, part = counts[split], tokens[start:end]
            for i in range(len(part)):
                token = part[i]
                if np.uint16(token - density) < levels and track < len(rates):
                    token = density
                    for edge in edges:
                        token += np.uint16(edge <= rates[track])
                    part[i] = token
                    track += 1
                row[token] += 1
        start = end


@kernel
def rates_of_windows(
    documents: DocumentColumns,
    bars: int,
    track_start: np.uint16,
    bar_start: np.uint16,
    note_on: np.uint16,
) -> tuple[Rates, npt.NDArray[np.int64]]:
    """Return the notes a bar of each track in each window of `bars` bars in which it sounds.

    Windows do not overlap; the last of a document is as short as it falls. Also return how many
    rates each document has.
    """
    tokens, lengths = documents.tokens, documents.lengths
    counts = np.zeros(len(lengths), np.int64)
    # A bar with a note takes three tokens at least.
    rates = np.empty(len(tokens) // 3 + 1, np.float64)
    count = start = 0
    for document in range(len(lengths)):
        end, before = start + lengths[document], count
        bar = notes = 0
        for token in tokens[start:end]:
            if np.uint16(token - note_on) < PITCHES:
                notes += 1
            elif token == track_start or (token == bar_start and bar == bars):
                # Written always and kept only where notes are: else the next one overwrites it.
                rates[count] = notes / max(bar, 1)
                count += notes > 0
                notes = 0
                bar = wide(token == bar_start)
            else:
                bar += token == bar_start
        rates[count] = notes / max(bar, 1)
        count += notes > 0
        counts[document] = count - before
        start = end
    return rates[:count], counts
