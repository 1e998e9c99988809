"""Put density levels into the tokens of a shard, and count tokens; compiled."""

import numpy as np
import numpy.typing as npt

from megatron_music.score.compiled import kernel
from megatron_music.tokenizer.documents import DocumentColumns


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
