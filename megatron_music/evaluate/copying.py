"""Copying: the longest run of bars that a piece shares with training music.

Two bars are the same when the same notes begin at the same steps, on any instruments and for
any length; two runs of bars when their bars are the same after one transposition of
the whole run. Drums are compared as they are. Where training music is stored as windows, a run is
found up to the length of a window; in whole pieces, up to any length.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt

from megatron_music.data.indexed import IndexedReader
from megatron_music.generate.song import Song
from megatron_music.generate.song_report import Copies
from megatron_music.score.hashing import DRUM_OFFSET, PITCH_ROOM, STRIDE, Words, scramble
from megatron_music.score.instruments import DRUMS
from megatron_music.score.notes import IntArray
from megatron_music.tokenizer.hidden_bars import is_hidden
from megatron_music.tokenizer.vocabulary import PITCHES, TokenArray, Vocabulary
from megatron_music.train.datasets import read_window_settings

BoolArray = npt.NDArray[np.bool_]

MOST_TOKENS = 50_000_000
"""The limit of training tokens, from the first: more would take minutes."""

CHUNK_TOKENS = 2_000_000
# Added to moves of -127 to 127 semitones: hashes take numbers that are not negative.
_MOVE_ROOM = 256


@dataclass(frozen=True)
class Bars:
    """Bars of documents laid end to end, all columns [bars].

    `shapes` hashes what begins in a bar, heights counted from its lowest note; `moves` says how
    far that note is above the one of the bar before; `sounds` marks bars in which a note begins;
    `documents` numbers the document.
    """

    shapes: Words
    moves: IntArray
    sounds: IntArray
    documents: IntArray


def bars_of(documents: Sequence[TokenArray], vocabulary: Vocabulary) -> Bars:
    """Return the bars of documents in tokens."""
    none = np.zeros(0, np.int64)
    if not documents:
        return Bars(none.astype(np.uint64), none, none, none)
    ids = np.concatenate([tokens.astype(np.int64) for tokens in documents])
    place, step, pitch, drums, totals = _onsets(ids, vocabulary)
    bars = int(totals.sum())
    document = np.repeat(np.arange(len(totals)), totals)
    lowest = np.full(bars, PITCHES, np.int64)
    np.minimum.at(lowest, place[~drums], pitch[~drums])
    # Give bars without a pitched note the lowest note of the bar before, of the same document
    known = np.where(lowest < PITCHES, np.arange(len(lowest)), -1)
    starts = np.flatnonzero(np.diff(document, prepend=-1))
    known[starts] = starts
    carried: IntArray = lowest[np.maximum.accumulate(known)]
    lowest = np.where(carried < PITCHES, carried, 0)
    height = np.where(drums, pitch + DRUM_OFFSET, pitch - lowest[place])
    room = vocabulary.longest_bar * PITCH_ROOM
    notes = np.unique(place * room + step * PITCH_ROOM + height)
    shapes = np.zeros(bars, np.uint64)
    hashes = scramble((notes % room).astype(np.uint64))
    np.add.at(shapes, notes // room, hashes)
    moves = np.diff(lowest, prepend=lowest[:1])
    sounds = np.bincount(place, minlength=bars).astype(np.int64)
    return Bars(shapes, moves, sounds, document)


def _onsets(
    ids: IntArray, vocabulary: Vocabulary
) -> tuple[IntArray, IntArray, IntArray, BoolArray, IntArray]:
    """Return bar, step, pitch and whether it is a drum of every note, and the bars of documents.

    Bars are numbered through all documents; the tracks of a document share theirs.
    """
    v = vocabulary
    document = np.cumsum(ids == v.piece_start) - 1
    track = np.cumsum(ids == v.track_start) - 1
    bar_starts = np.cumsum(ids == v.bar_start)
    heads = np.flatnonzero(ids == v.track_start)
    # TIME_DELTA tokens count from 1 step.
    waits = (ids > v.time_delta) & (ids <= v.time_delta + v.longest_bar)
    time = np.cumsum(np.where(waits, ids - v.time_delta, 0))
    time_at_bar = np.concatenate(([0], time[ids == v.bar_start]))
    on = np.flatnonzero((ids >= v.note_on) & (ids < v.note_on + PITCHES))
    bar_in_track = bar_starts[on] - bar_starts[heads][track[on]] - 1
    ends = np.append(heads[1:], len(ids)) - 1
    bars_of_track = bar_starts[ends] - bar_starts[heads]
    totals = np.zeros(int(document[-1]) + 1, np.int64)
    np.maximum.at(totals, document[heads], bars_of_track)
    first = np.cumsum(totals) - totals
    is_drum = ids[heads + 1] == v.inst + DRUMS
    step = time[on] - time_at_bar[bar_starts[on]]
    return first[document[on]] + bar_in_track, step, ids[on] - v.note_on, is_drum[track[on]], totals


def longest_runs(pieces: Bars, corpus: Bars) -> IntArray:
    """Return the bars of the longest run that each document of `pieces` shares with the corpus.

    A run begins and ends in a bar in which a note begins.
    """
    longest = np.zeros(int(pieces.documents.max(initial=-1)) + 1, np.int64)
    ours, theirs = pieces.shapes, corpus.shapes
    starts = np.arange(len(ours))
    for length in count(1):
        found = np.isin(ours[starts], theirs[_starts(corpus, length)])
        starts = starts[found]
        if not len(starts):
            return longest
        sounding = (pieces.sounds[starts] > 0) & (pieces.sounds[starts + length - 1] > 0)
        longest[pieces.documents[starts[sounding]]] = length
        # A run of n + 1 bars can only be found where one of n bars is.
        starts = np.intersect1d(starts, _starts(pieces, length + 1))
        ours, theirs = _longer(pieces, ours, length), _longer(corpus, theirs, length)
    return longest


def _starts(bars: Bars, length: int) -> IntArray:
    """Return the starts of all runs of `length` bars within one document."""
    last = np.arange(length - 1, len(bars.shapes))
    first = last - length + 1
    starts: IntArray = first[bars.documents[first] == bars.documents[last]]
    return starts


def _longer(bars: Bars, runs: Words, length: int) -> Words:
    """Return the hashes of runs one bar longer than `length`; past the end they mean nothing."""
    longer = runs.copy()
    move = (bars.moves[length:] + _MOVE_ROOM).astype(np.uint64)
    following = scramble(bars.shapes[length:] ^ scramble(move))
    kept = len(following)
    longer[:kept] = scramble(runs[:kept] * np.uint64(STRIDE | 1) + following)
    return longer


def split_tracks(tokens: TokenArray, vocabulary: Vocabulary) -> TokenArray:
    """Return a document with every track turned into a document, one after another."""
    tracks = np.flatnonzero(tokens == vocabulary.track_start)[1:]
    return np.insert(tokens, tracks, np.uint16(vocabulary.piece_start))


def training_bars(reader: IndexedReader, vocabulary: Vocabulary, *, alone: bool = False) -> Bars:
    """Return the bars of training music, up to MOST_TOKENS of it; `alone`: each track's.

    Documents with hidden bars are left out: their music is in other documents, complete.
    """
    ends = np.cumsum(reader.lengths, dtype=np.int64)
    # The first document counts even if it is longer than that.
    fitting = ends[(ends <= MOST_TOKENS) | (np.arange(len(ends)) == 0)]
    chunks = np.split(np.arange(len(fitting)), np.flatnonzero(np.diff(fitting // CHUNK_TOKENS)) + 1)
    parts = []
    for chunk in chunks:
        documents = (np.asarray(reader[i], np.uint16) for i in chunk.tolist())
        shown = [tokens for tokens in documents if not is_hidden(tokens, vocabulary)]
        if alone:
            shown = [split_tracks(tokens, vocabulary) for tokens in shown]
        parts.append(bars_of(shown, vocabulary))
    # Lay bars end to end, their documents numbered on
    counts = [int(part.documents.max(initial=-1)) + 1 for part in parts]
    firsts = np.cumsum([0, *counts[:-1]])
    return Bars(
        np.concatenate([part.shapes for part in parts]),
        np.concatenate([part.moves for part in parts]),
        np.concatenate([part.sounds for part in parts]),
        np.concatenate([part.documents + first for part, first in zip(parts, firsts, strict=True)]),
    )


def count_runs(
    corpus: Path, sets: Mapping[str, Sequence[TokenArray]], vocabulary: Vocabulary
) -> dict[str, dict[int, int]]:
    """Count the documents of each set by the longest run that they share with training music."""
    bars = training_bars(IndexedReader(corpus / "train"), vocabulary)
    longest = {name: longest_runs(bars_of(of, vocabulary), bars) for name, of in sets.items()}
    return {name: dict(sorted(Counter(of.tolist()).items())) for name, of in longest.items()}


def check_copies(
    songs: Sequence[Song], corpus: Path | None, vocabulary: Vocabulary
) -> list[Copies]:
    """Return the longest run of bars that each song shares with the training music.

    `corpus` is the data set's folder; with None the songs are not checked.
    """
    if corpus is None:
        reason = "the training data are not there; name them with --data"
        return [Copies(None, reason=reason)] * len(songs)
    reader = IndexedReader(corpus / "train")
    whole = [np.array(song.tokens, np.uint16) for song in songs]
    voices = [split_tracks(tokens, vocabulary) for tokens in whole]
    together, alone = (
        longest_runs(
            bars_of(documents, vocabulary),
            training_bars(reader, vocabulary, alone=documents is voices),
        )
        for documents in (whole, voices)
    )
    tracks = np.cumsum([0, *(len(song.piece.tracks) for song in songs)])[:-1]
    longest = np.maximum.reduceat(alone, tracks)
    at_most = vocabulary.settings.bars if read_window_settings(corpus) is None else 0
    return [
        Copies(found, in_a_track, at_most)
        for found, in_a_track in zip(together.tolist(), longest.tolist(), strict=True)
    ]
