"""One piece of a source to the documents of a data set, or to a refusal with its reason."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from megatron_music.data.dedup import fingerprint, split_of
from megatron_music.data.items import Item
from megatron_music.data.outcomes import KEPT, REFUSED, Outcome
from megatron_music.data.pieces import accept
from megatron_music.data.refusal import Refusal
from megatron_music.data.settings import SPLITS, BuildSettings
from megatron_music.errors import MusicFileError
from megatron_music.score.hashing import track_order
from megatron_music.score.instruments import instrument_name
from megatron_music.score.notes import Piece
from megatron_music.score.quantize import placed_windows
from megatron_music.tokenizer.codec import encode, note_rates, transpose
from megatron_music.tokenizer.vocabulary import TokenArray, Vocabulary

Rates = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Document:
    """A window in one key: its tokens, the notes a bar of each of its tracks, and its place.

    `first_bar` is the bar of the piece that it begins with, counted from 0.
    """

    tokens: TokenArray
    rates: Rates
    first_bar: int


def encode_item(
    item: Item, settings: BuildSettings, vocabulary: Vocabulary
) -> tuple[Outcome, list[Document]]:
    """Read and encode one piece; what cannot be used comes back as a refusal with its reason."""
    try:
        accepted = accept(item.read(), settings)
    except Refusal as refusal:
        return Outcome(item.name, REFUSED, refusal.reason, str(refusal)), []
    except MusicFileError as fault:
        return Outcome(item.name, REFUSED, fault.reason, str(fault)), []
    piece, music = accepted.piece, fingerprint(accepted.coarse)
    split = split_of(music, settings.split)
    cut = placed_windows(piece, settings.cut.bars, settings.cut.hop, accepted.cuts)
    shifts = settings.cut.shifts if split == SPLITS[0] else range(1)
    documents = [
        document
        for index, (first, window) in enumerate(cut)
        for document in _in_keys(
            _arrange(window, music, index, settings), first, shifts, vocabulary
        )
    ]
    outcome = Outcome(
        item.name,
        KEPT,
        detail=accepted.remark,
        split=split,
        bars=piece.bars,
        windows=len(cut),
        documents=len(documents),
        tokens=sum(len(document.tokens) for document in documents),
        fingerprint=music,
        instruments=tuple(map(instrument_name, sorted(track.instrument for track in piece.tracks))),
    )
    return outcome, documents


def _arrange(window: Piece, music: str, index: int, settings: BuildSettings) -> Piece:
    """Put the tracks in an order that depends on seed, music and window alone; keep the first."""
    tracks = window.tracks
    if settings.cut.shuffle:
        tracks = tuple(tracks[i] for i in track_order(settings.seed, music, index, len(tracks)))
    return replace(window, tracks=tracks[: settings.cut.max_tracks])


def _in_keys(
    window: Piece, first_bar: int, shifts: range, vocabulary: Vocabulary
) -> Iterator[Document]:
    """Encode a window once for each shift that leaves all its pitches in 0..127."""
    tokens, rates = encode(window, vocabulary), note_rates(window)
    for semitones in shifts:
        moved = transpose(tokens, semitones, vocabulary) if semitones else tokens
        if moved is not None:
            yield Document(moved, rates, first_bar)
