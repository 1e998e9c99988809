"""A piece and its documents, as columns."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.data.documents import Document, Rates
from megatron_music.data.minhash import Signatures
from megatron_music.data.outcomes import Outcome
from megatron_music.data.settings import BuildSettings
from megatron_music.tokenizer.fill import choose_bars, hide
from megatron_music.tokenizer.vocabulary import TokenArray, Vocabulary
from megatron_music.tokenizer.windows import documents_of, track_rates


class Encoded(NamedTuple):
    """A piece and its documents, one behind the other; see `shard_file.Shard`.

    `window_rates` are the notes a bar of each track of each window of a whole piece; empty where
    the documents are windows. `sketch` is what near duplicates are found by, where they are looked
    for (see `quality.sketch`).
    """

    outcome: Outcome
    tokens: TokenArray
    lengths: npt.NDArray[np.int32]
    rates: Rates
    tracks: npt.NDArray[np.int32]
    first_bars: npt.NDArray[np.int32]
    window_rates: Rates = np.zeros(0)
    sketch: Signatures = np.zeros(0, np.uint32)


def as_encoded(outcome: Outcome, documents: Sequence[Document]) -> Encoded:
    """Lay the documents of a piece one behind the other."""
    return Encoded(
        outcome,
        np.concatenate([np.zeros(0, np.uint16), *(document.tokens for document in documents)]),
        np.array([len(document.tokens) for document in documents], np.int32),
        np.concatenate([np.zeros(0), *(document.rates for document in documents)]),
        np.array([len(document.rates) for document in documents], np.int32),
        np.array([document.first_bar for document in documents], np.int32),
    )


def with_labels(piece: Encoded, tokens: npt.NDArray[np.int64]) -> Encoded:
    """Put a piece's labels, ascending tokens, behind the PIECE_START of each of its documents."""
    count, size = len(piece.lengths), len(tokens)
    starts = np.cumsum(piece.lengths, dtype=np.int64) - piece.lengths
    labels = np.tile(tokens, count).astype(piece.tokens.dtype)
    piece.outcome.tokens += count * size
    return piece._replace(
        tokens=np.insert(piece.tokens, np.repeat(starts + 1, size), labels),
        lengths=piece.lengths + np.int32(size),
    )


def with_hidden_bars(piece: Encoded, settings: BuildSettings, vocabulary: Vocabulary) -> Encoded:
    """Follow each document with a copy of it in which bars are hidden, another choice for each."""
    documents: list[Document] = []
    edges = np.cumsum(piece.lengths)[:-1], np.cumsum(piece.tracks)[:-1]
    parts = zip(
        np.split(piece.tokens, edges[0]),
        np.split(piece.rates, edges[1]),
        piece.first_bars.tolist(),
        strict=True,
    )
    for index, (tokens, rates, first_bar) in enumerate(parts if len(piece.lengths) else ()):
        bars = int(np.count_nonzero(tokens == vocabulary.bar_start)) // len(rates)
        chosen = choose_bars(settings.seed, piece.outcome.fingerprint, index, len(rates), bars)
        hidden = hide(tokens, chosen, vocabulary)
        documents += [Document(shown, rates, first_bar) for shown in (tokens, hidden)]
    made = as_encoded(piece.outcome, documents)
    made.outcome.documents, made.outcome.tokens = len(made.lengths), len(made.tokens)
    return made


def with_window_rates(piece: Encoded, settings: BuildSettings, vocabulary: Vocabulary) -> Encoded:
    """Add the notes a bar of the windows of a whole piece: what density levels are cut from."""
    lengths = piece.lengths
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    documents = documents_of(piece.tokens, starts, lengths)
    return piece._replace(window_rates=track_rates(documents, settings.bars, vocabulary))
