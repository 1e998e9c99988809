"""One piece to the documents of a data set, or to a refusal: the path that reads any format.

`batch.py` does the same for many MIDI files at once; tests compare the two.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.data.encoding.minhash import Signatures
from megatron_music.data.encoding.records import KEPT, REFUSED, FileRecord
from megatron_music.data.settings import SPLITS, BuildSettings
from megatron_music.data.sources.item import Item, Refusal
from megatron_music.data.split import split_of
from megatron_music.errors import MidiError, MusicFileError
from megatron_music.score.hashing import fingerprint, track_order
from megatron_music.score.instruments import VOICES, instrument_name
from megatron_music.score.merge import as_chorale, merge
from megatron_music.score.metre import COMMON_TIME, TimeSignature, time_signatures
from megatron_music.score.notes import QUARTERS_PER_BAR, Piece, Score
from megatron_music.score.quantize import placed_windows, quantize
from megatron_music.score.stretches import lay_out_bars, other_metres
from megatron_music.tokenizer.codec import encode, note_rates, transpose
from megatron_music.tokenizer.fill import choose_bars, hide
from megatron_music.tokenizer.vocabulary import TokenArray, Vocabulary
from megatron_music.tokenizer.windows import documents_of, track_rates
from megatron_music.wording import counted

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
) -> tuple[FileRecord, list[Document]]:
    """Read and encode one piece; what cannot be used comes back as a refusal with its reason."""
    try:
        score = item.read()
        accepted = validate_score(score, settings)
    except Refusal as refusal:
        return FileRecord(item.name, REFUSED, refusal.reason, str(refusal)), []
    except MusicFileError as fault:
        return FileRecord(item.name, REFUSED, fault.reason, str(fault)), []
    # On the coarse grid, whatever the grid of the data set: a piece stays in its split.
    piece, music = accepted.piece, fingerprint(accepted.coarse)
    split = split_of(music, settings.split)
    cut = placed_windows(piece, settings.cut.bars, settings.cut.hop, accepted.cuts)
    # Validation is on real music: transposed copies would only cost time.
    shifts = settings.cut.shifts if split == SPLITS[0] else range(1)
    documents: list[Document] = []
    for index, (first, window) in enumerate(cut):
        arranged = _arrange(window, music, index, settings)
        tokens, rates = encode(arranged, vocabulary), note_rates(arranged)
        documents += in_keys(tokens, rates, first, shifts, vocabulary)
    outcome = FileRecord(
        item.name,
        KEPT,
        detail="; ".join(filter(None, (accepted.remark, score.words_left_out))),
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
    # An order drawn for each window, the same in every build: models must not learn positions.
    tracks = window.tracks
    if settings.cut.shuffle:
        tracks = tuple(tracks[i] for i in track_order(settings.seed, music, index, len(tracks)))
    return replace(window, tracks=tracks[: settings.cut.max_tracks])


def in_keys(
    tokens: TokenArray, rates: Rates, first_bar: int, shifts: range, vocabulary: Vocabulary
) -> Iterator[Document]:
    """Give a window once for each shift, in semitones, that leaves all its pitches in 0..127."""
    for semitones in shifts:
        moved = transpose(tokens, semitones, vocabulary) if semitones else tokens
        if moved is not None:
            yield Document(moved, rates, first_bar)


class Encoded(NamedTuple):
    """A piece and its documents, one behind the other; see `shard_file.Shard`.

    `window_rates` are the notes a bar of each track of each window of a whole piece; empty where
    the documents are windows. `sketch` is what near duplicates are found by, where they are looked
    for (see `quality.sketch`).
    """

    outcome: FileRecord
    tokens: TokenArray
    lengths: npt.NDArray[np.int32]
    rates: Rates
    tracks: npt.NDArray[np.int32]
    first_bars: npt.NDArray[np.int32]
    window_rates: Rates = np.zeros(0)
    sketch: Signatures = np.zeros(0, np.uint32)


def as_encoded(outcome: FileRecord, documents: Sequence[Document]) -> Encoded:
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


MOST_NOTES = 200_000
MOST_BARS = 4_000
"""Two hours at 120 beats a minute."""

FINGERPRINT_STEPS_PER_QUARTER = 4
_MANY = 5


@dataclass(frozen=True)
class ValidPiece:
    """A piece on its grid and, `coarse`, on that of fingerprints; `cuts` as in `windows`.

    `remark` says what was left out of it.
    """

    piece: Piece
    coarse: Piece
    cuts: tuple[int, ...]
    remark: str = ""


def validate_score(score: Score, settings: BuildSettings) -> ValidPiece:
    """Return what of a score belongs into a data set; raises Refusal or MidiError."""
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
    if settings.merge:
        score = merge(score)
    coarse = quantize(score, FINGERPRINT_STEPS_PER_QUARTER)
    if settings.steps_per_quarter == FINGERPRINT_STEPS_PER_QUARTER:
        return ValidPiece(coarse, coarse, cuts, remark)
    return ValidPiece(quantize(score, settings.steps_per_quarter), coarse, cuts, remark)


def other_metre(
    found: Iterable[Sequence[int]], kept: Collection[TimeSignature] = (COMMON_TIME,)
) -> Refusal:
    """Return the refusal of a piece without enough music in metres that are kept.

    What was found are numerators and denominators.
    """
    return Refusal(
        "metre", f"{_names(found)}; only stretches of {_kept(kept)} as long as a window are kept"
    )


def left_out(
    stretches: int,
    found: Iterable[Sequence[int]],
    kept: Collection[TimeSignature] = (COMMON_TIME,),
) -> str:
    """Say what was left of a piece that has metres which are not kept."""
    named = counted(stretches, "stretch", "stretches")
    return f"{named} of {_kept(kept)}; {_names(found)} left out"


def _kept(metres: Collection[TimeSignature]) -> str:
    return ", ".join(map(str, metres)) if len(metres) < _MANY else "other metres"


def _names(metres: Iterable[Sequence[int]]) -> str:
    return ", ".join(sorted({f"{numerator}/{denominator}" for numerator, denominator in metres}))
