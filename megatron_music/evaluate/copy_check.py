"""Songs held against the training music, for their reports."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from megatron_music.data.indexed import IndexedReader
from megatron_music.evaluate.copying import bars_of, longest_runs, tracks_alone, training_bars
from megatron_music.generate.report import Copies
from megatron_music.generate.song import Song
from megatron_music.tokenizer.vocabulary import Vocabulary


def check_copies(
    songs: Sequence[Song], corpus: Path | None, vocabulary: Vocabulary
) -> list[Copies]:
    """Return the longest run of bars that each song shares with the training music.

    `corpus` is the data set's folder; None: it is not there, and the songs are not checked.
    """
    if corpus is None:
        reason = "the training data are not there; name them with --data"
        return [Copies(None, reason=reason)] * len(songs)
    reader = IndexedReader(corpus / "train")
    whole = [np.array(song.tokens, np.uint16) for song in songs]
    voices = [tracks_alone(tokens, vocabulary) for tokens in whole]
    together, alone = (
        longest_runs(
            bars_of(documents, vocabulary),
            training_bars(reader, vocabulary, alone=documents is voices),
        )
        for documents in (whole, voices)
    )
    tracks = np.cumsum([0, *(len(song.piece.tracks) for song in songs)])[:-1]
    longest = np.maximum.reduceat(alone, tracks)
    return [
        Copies(found, in_a_track, vocabulary.settings.bars)
        for found, in_a_track in zip(together.tolist(), longest.tolist(), strict=True)
    ]
