"""Encode many MIDI files at once by the compiled kernels.

Files that the kernels cannot handle are left to `encode_piece.encode_item`.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from megatron_music.data.records import KEPT, FileRecord, Refusal
from megatron_music.data.settings import BuildSettings
from megatron_music.data.shards.encode_piece import (
    EncodedPiece,
    left_out,
    other_metre,
    refused,
    window_rates,
)
from megatron_music.data.sources.item import File, Item, is_file
from megatron_music.data.split import last_training_word, split_of
from megatron_music.score.instruments import instrument_name
from megatron_music.score.metre import time_signatures
from megatron_music.score.notation import is_score
from megatron_music.tokenizer.vocabulary import vocabulary_of

if TYPE_CHECKING:
    from megatron_music.tokenizer.batch_encoder import Batch, BatchEncoder

_MOST_BYTES = 16_000_000


def encode_batch(
    items: Sequence[Item], settings: BuildSettings
) -> Iterator[tuple[int, EncodedPiece]]:
    """Encode the items that the kernels can handle; give each with its position."""
    # Notation goes through music21, piece by piece, and the kernels read no words.
    files = [
        (position, item)
        for position, item in enumerate(items)
        if is_file(item) and not is_score(item.name) and not settings.lyrics
    ]
    if not files:
        return
    encoder = _encoder(settings)
    for positions, names, raws in _portions(files):
        pieces = _pieces(names, encoder.encode(raws), settings)
        yield from ((positions[i], encoded) for i, encoded in pieces)


def load_kernels() -> None:
    """Compile or load the kernels that `encode_batch` needs."""
    _encoder(BuildSettings()).encode([b""])


@lru_cache(maxsize=1)
def _encoder(settings: BuildSettings) -> "BatchEncoder":
    """Return the encoder of a worker: its memory is kept from shard to shard."""
    # Imported here: music21's collections are read without the compiler, which takes a second.
    from megatron_music.tokenizer.batch_encoder import BatchEncoder

    cut = settings.cut
    return BatchEncoder(
        vocabulary_of(settings.tokenizer()),
        cut.bars,
        cut.hop,
        shortest=settings.bars,
        voices=settings.voices,
        merge=settings.merge,
        shuffle=cut.shuffle,
        seed=settings.seed,
        max_tracks=cut.max_tracks,
        shifts=cut.shifts,
        last_training=last_training_word(settings.split),
    )


def _pieces(
    names: Sequence[str], batch: "Batch", settings: BuildSettings
) -> Iterator[tuple[int, EncodedPiece]]:
    """Give the pieces of a batch that the kernels could handle, with their places in it."""
    documents = np.cumsum([0, *batch.pieces[:, 2]]).tolist()
    tokens = np.cumsum([0, *batch.pieces[:, 3]]).tolist()
    tracks = np.concatenate(([0], np.cumsum(batch.documents.tracks)))[documents].tolist()
    metres = time_signatures(settings.metres)
    rates, first_rates = np.zeros(0), [0] * len(documents)
    if settings.pieces:
        rates, counts = window_rates(batch.documents, settings, vocabulary_of(settings.tokenizer()))
        first_rates = np.concatenate(([0], np.cumsum(counts)))[documents].tolist()
    for i, (bars, windows, *_, stretches) in enumerate(batch.pieces.tolist()):
        # Bars of 0 with a metre: all of it is in metres that are left out. Without one: not sure.
        if batch.metres[i] and bars <= 0:
            refusal = other_metre(batch.metres[i], metres)
            yield i, refused(names[i], refusal.reason, str(refusal))
        elif bars > 0:
            record = FileRecord(
                names[i],
                KEPT,
                detail=left_out(stretches, batch.metres[i], metres) if stretches else "",
                split=split_of(batch.fingerprints[i], settings.split),
                bars=bars,
                windows=windows,
                documents=documents[i + 1] - documents[i],
                tokens=tokens[i + 1] - tokens[i],
                fingerprint=batch.fingerprints[i],
                instruments=_names(tuple(batch.instruments[i])),
            )
            ranges = (slice(*edges[i : i + 2]) for edges in (documents, tokens, tracks))
            of_windows = rates[slice(*first_rates[i : i + 2])]
            yield i, EncodedPiece(record, batch.documents.part(*ranges), of_windows)


@lru_cache(maxsize=1 << 12)
def _names(instruments: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names of instruments; cached, since many pieces have the same."""
    return tuple(map(instrument_name, instruments))


def _portions(
    files: Sequence[tuple[int, File]],
) -> Iterator[tuple[list[int], list[str], list[bytes]]]:
    """Read files in portions that fit into memory; those that cannot be read are left out."""
    positions: list[int] = []
    names: list[str] = []
    raws: list[bytes] = []
    size_bytes = 0
    for position, file in files:
        try:
            raw = file.raw()
        except Refusal:
            continue
        positions.append(position)
        names.append(file.name)
        raws.append(raw)
        size_bytes += len(raw)
        # The kernels take any number of files, but hold their bytes and tokens at once.
        if size_bytes > _MOST_BYTES:
            yield positions, names, raws
            positions, names, raws, size_bytes = [], [], [], 0
    if raws:
        yield positions, names, raws
