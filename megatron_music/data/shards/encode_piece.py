"""Encode one piece of any format into the documents of a data set, or refuse it.

`encode_midi.py` does the same for many MIDI files at once; tests compare the two.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.data.records import KEPT, REFUSED, FileRecord, Refusal
from megatron_music.data.settings import SPLITS, BuildSettings
from megatron_music.data.shards.near_duplicates import Signatures
from megatron_music.data.sources.item import Item
from megatron_music.data.split import split_of
from megatron_music.errors import MidiError, MusicFileError
from megatron_music.formatting import counted
from megatron_music.score.bar_layout import lay_out_bars, other_metres
from megatron_music.score.hashing import fingerprint, track_order
from megatron_music.score.instruments import VOICES, instrument_name
from megatron_music.score.metre import COMMON_TIME, TimeSignature, time_signatures
from megatron_music.score.notes import QUARTERS_PER_BAR, Score
from megatron_music.score.quantize import as_chorale, merge, placed_windows, quantize
from megatron_music.tokenizer.codec import encode, note_rates, transpose
from megatron_music.tokenizer.document_columns import (
    NO_DOCUMENTS,
    DocumentColumns,
    Rates,
    document_columns,
)
from megatron_music.tokenizer.hidden_bars import choose_bars, hide
from megatron_music.tokenizer.vocabulary import TokenArray, Vocabulary


class EncodedPiece(NamedTuple):
    """The outcome of a piece of a source, and its documents.

    `window_rates` has the notes a bar of each track in each window of a whole piece; it is empty if
    documents are windows. `sketch` is the signature of `quality.sketch`; it is empty without
    `quality`.
    """

    record: FileRecord
    documents: DocumentColumns = NO_DOCUMENTS
    window_rates: Rates = np.zeros(0)
    sketch: Signatures = np.zeros(0, np.uint32)


def refused(name: str, reason: str, detail: str) -> EncodedPiece:
    """Return the record of a piece that is left out."""
    return EncodedPiece(FileRecord(name, REFUSED, reason, detail))


def encode_item(item: Item, settings: BuildSettings, vocabulary: Vocabulary) -> EncodedPiece:
    """Read and encode one piece; one that cannot be used is refused with its reason."""
    try:
        score = item.read()
        laid, cuts, remark = validate_score(score, settings)
        # Of this grid on every grid, so that duplicates and splits are the same in all data sets.
        piece = coarse = quantize(laid, FINGERPRINT_STEPS_PER_QUARTER)
        if settings.steps_per_quarter != FINGERPRINT_STEPS_PER_QUARTER:
            piece = quantize(laid, settings.steps_per_quarter)
    except (Refusal, MusicFileError) as fault:
        return refused(item.name, fault.reason, str(fault))
    music = fingerprint(coarse)
    split = split_of(music, settings.split)
    cut = placed_windows(piece, settings.cut.bars, settings.cut.hop, cuts)
    # Validation is on real music: transposed copies would only cost time.
    shifts = settings.cut.shifts if split == SPLITS[0] else range(1)
    windows = []
    for index, (first, window) in enumerate(cut):
        # Random, so that models do not learn positions; reproducible, so that builds are the same.
        tracks = window.tracks
        if settings.cut.shuffle:
            tracks = tuple(tracks[i] for i in track_order(settings.seed, music, index, len(tracks)))
        arranged = replace(window, tracks=tracks[: settings.cut.max_tracks])
        windows.append((encode(arranged, vocabulary), note_rates(arranged), first))
    documents = document_columns(in_keys(windows, shifts, vocabulary))
    record = FileRecord(
        item.name,
        KEPT,
        detail="; ".join(filter(None, (remark, score.words_left_out))),
        split=split,
        bars=piece.bars,
        windows=len(cut),
        documents=len(documents.lengths),
        tokens=len(documents.tokens),
        fingerprint=music,
        instruments=tuple(map(instrument_name, sorted(track.instrument for track in piece.tracks))),
    )
    if not settings.pieces:
        return EncodedPiece(record, documents)
    rates, _ = window_rates(documents, settings, vocabulary)
    return EncodedPiece(record, documents, rates)


def in_keys(
    windows: Iterable[tuple[TokenArray, Rates, int]], shifts: range, vocabulary: Vocabulary
) -> Iterator[tuple[TokenArray, Rates, int]]:
    """Give each window once for each shift, in semitones, that leaves its pitches in 0..127.

    A window is its tokens, the notes a bar of each track, and its first bar in the piece.
    """
    for tokens, rates, first_bar in windows:
        for semitones in shifts:
            moved = transpose(tokens, semitones, vocabulary) if semitones else tokens
            if moved is not None:
                yield moved, rates, first_bar


def with_labels(piece: EncodedPiece, tokens: npt.NDArray[np.int64]) -> EncodedPiece:
    """Put a piece's labels, ascending tokens, after the PIECE_START of each of its documents."""
    documents = piece.documents
    count, size = len(documents.lengths), len(tokens)
    starts = np.cumsum(documents.lengths, dtype=np.int64) - documents.lengths
    labels = np.tile(tokens, count).astype(documents.tokens.dtype)
    piece.record.tokens += count * size
    labelled = documents._replace(
        tokens=np.insert(documents.tokens, np.repeat(starts + 1, size), labels),
        lengths=documents.lengths + np.int32(size),
    )
    return piece._replace(documents=labelled)


def with_hidden_bars(
    piece: EncodedPiece, settings: BuildSettings, vocabulary: Vocabulary
) -> EncodedPiece:
    """Add after each document a copy of it with hidden bars, chosen anew for each document."""
    shown = []
    for index, (tokens, rates, first_bar) in enumerate(piece.documents.one_by_one()):
        bars = int(np.count_nonzero(tokens == vocabulary.bar_start)) // len(rates)
        chosen = choose_bars(settings.seed, piece.record.fingerprint, index, len(rates), bars)
        hidden = hide(tokens, chosen, vocabulary)
        shown += [(tokens, rates, first_bar), (hidden, rates, first_bar)]
    documents = document_columns(shown)
    piece.record.documents, piece.record.tokens = len(documents.lengths), len(documents.tokens)
    return piece._replace(documents=documents)


def window_rates(
    documents: DocumentColumns, settings: BuildSettings, vocabulary: Vocabulary
) -> tuple[Rates, npt.NDArray[np.int64]]:
    """Return the rates, in notes a bar, that the density levels of whole pieces come from.

    There is one rate for each track that sounds in each window. Also return how many rates each
    document has.
    """
    # Imported here: music21's collections are read without the compiler, which takes a second.
    from megatron_music.data.shards.density_kernel import rates_of_windows

    marks = (vocabulary.track_start, vocabulary.bar_start, vocabulary.note_on)
    return rates_of_windows(documents, settings.bars, *map(np.uint16, marks))


MOST_NOTES = 200_000
MOST_BARS = 4_000
"""Two hours at 120 beats a minute."""

FINGERPRINT_STEPS_PER_QUARTER = 4
_MANY = 5


def validate_score(score: Score, settings: BuildSettings) -> tuple[Score, tuple[int, ...], str]:
    """Return the part of a score that goes into a data set; raises Refusal or MidiError.

    Also return the bars at which windows begin anew, and what was left out of the score.
    """
    if settings.voices:
        named = as_chorale(score)
        if named is None:
            raise Refusal(
                "parts", f"{counted(len(score.tracks), 'track')}; a chorale has {len(VOICES)}"
            )
        score = named
    metres = time_signatures(settings.metres)
    others = other_metres(score, metres)
    score, cuts = lay_out_bars(score, settings.bars, metres)
    if others and not score.tracks:
        raise other_metre(others, metres)
    if score.ticks_per_quarter < 1:
        message = f"{score.ticks_per_quarter} ticks a quarter note; it must be 1 or more"
        raise MidiError(message, "timing")
    notes = sum(map(len, score.tracks))
    if not notes:
        raise MidiError("no notes; there is nothing to encode", "silent")
    if notes > MOST_NOTES:
        raise Refusal("large", f"{notes} notes; the limit is {MOST_NOTES}")
    last = max(int(track.end.max()) for track in score.tracks if len(track))
    bars = last // (score.ticks_per_quarter * QUARTERS_PER_BAR) + 1
    if bars > MOST_BARS:
        raise Refusal("large", f"{bars} bars; the limit is {MOST_BARS}")
    remark = left_out(len(cuts), others, metres) if others else ""
    return (merge(score) if settings.merge else score), cuts, remark


def other_metre(
    found: Iterable[Sequence[int]], kept: Collection[TimeSignature] = (COMMON_TIME,)
) -> Refusal:
    """Return the refusal of a piece without enough music in metres that are kept.

    `found` has the numerator and denominator of each metre.
    """
    return Refusal(
        "metre", f"{_names(found)}; only stretches of {_kept(kept)} as long as a window are kept"
    )


def left_out(
    stretches: int,
    found: Iterable[Sequence[int]],
    kept: Collection[TimeSignature] = (COMMON_TIME,),
) -> str:
    """Say what was kept of a piece that has other metres as well."""
    named = counted(stretches, "stretch", "stretches")
    return f"{named} of {_kept(kept)}; {_names(found)} left out"


def _kept(metres: Collection[TimeSignature]) -> str:
    return ", ".join(map(str, metres)) if len(metres) < _MANY else "other metres"


def _names(metres: Iterable[Sequence[int]]) -> str:
    return ", ".join(sorted({f"{numerator}/{denominator}" for numerator, denominator in metres}))
