"""The music of a data set for an evaluation: tokens, pieces, and which windows are of one piece."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from megatron_music.data.dataset_windows import WindowReader
from megatron_music.data.indexed import IndexedReader, labels_in, spread
from megatron_music.data.records import RECORDS_FILE
from megatron_music.errors import DataError
from megatron_music.score.notes import IntArray, Piece
from megatron_music.score.quantize import windows
from megatron_music.tokenizer.codec import decode
from megatron_music.tokenizer.hidden_bars import is_hidden
from megatron_music.tokenizer.places_in_piece import UNKNOWN, Places
from megatron_music.tokenizer.vocabulary import TokenArray, Vocabulary

MOST_BARS = 8
"""Windows of more bars are cut to this many, which most songs have."""

_ENOUGH_WINDOWS = 2_000
"""Of pieces for training: more of their epochs would show the same music."""


@dataclass(frozen=True)
class SplitWindows:
    """Windows of one split of a data set.

    `groups` [n] numbers the piece each is cut from, `places` [n, 2] its position there, as
    in `tokenizer.places_in_piece`.
    """

    tokens: tuple[TokenArray, ...]
    groups: IntArray
    places: Places

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, indices: IntArray) -> "SplitWindows":
        """Return some of the windows."""
        tokens = tuple(self.tokens[i] for i in indices.tolist())
        return SplitWindows(tokens, self.groups[indices], self.places[indices])

    def and_also(self, others: "SplitWindows") -> "SplitWindows":
        """Return these windows and others, from other pieces."""
        shift = int(self.groups.max(initial=-1)) + 1
        groups = np.concatenate((self.groups, others.groups + shift))
        places = np.concatenate((self.places, others.places))
        return SplitWindows((*self.tokens, *others.tokens), groups, places)


def read_split(folder: Path, split: str, most: int, vocabulary: Vocabulary) -> SplitWindows:
    """Read up to `most` windows of one split, evenly spread over it; raises DataError.

    Windows with hidden bars are left out: their music is in other windows, complete.
    """
    reader = WindowReader(folder, split, vocabulary, at_least=min(most, _ENOUGH_WINDOWS))
    return _read(reader, np.array(spread(len(reader), most), np.int64), folder, split, vocabulary)


def read_labels(folder: Path, split: str, most: int, vocabulary: Vocabulary) -> SplitWindows:
    """Read up to `most` windows of each label of one split, as `read_split` does.

    Windows that are spread over all music would hardly have the rare ones.
    """
    reader = WindowReader(folder, split, vocabulary)
    labels = labels_in(IndexedReader(folder / split), vocabulary)[reader.owners]
    chosen = []
    for label in np.unique(labels):
        windows = np.flatnonzero((labels == label).any(axis=1))
        chosen.append(windows[spread(len(windows), most)])
    every = np.unique(np.concatenate([np.zeros(0, np.int64), *chosen]))
    return _read(reader, every, folder, split, vocabulary)


def _read(
    reader: WindowReader, chosen: IntArray, folder: Path, split: str, vocabulary: Vocabulary
) -> SplitWindows:
    pieces = _pieces(folder, split, reader.documents)[reader.owners]
    tokens = tuple(reader[i] for i in chosen.tolist())
    shown = [i for i, window in enumerate(tokens) if not is_hidden(window, vocabulary)]
    of_chosen = np.asarray(reader.places[chosen], np.int32)
    return SplitWindows(tokens, pieces[chosen], of_chosen).take(np.array(shown, np.int64))


def _pieces(folder: Path, split: str, documents: int) -> IntArray:
    """Return the number of the piece that each document of a split comes from, [documents].

    Documents have the order of `files.jsonl`; where its counts do not add up to them, each
    document counts as a piece.
    """
    try:
        lines = (folder / RECORDS_FILE).read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        counts = [one["documents"] for one in records if one.get("split") == split]
        pieces = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    except FileNotFoundError:
        pieces = np.zeros(0, np.int64)
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise DataError(
            f"{folder / RECORDS_FILE} is damaged ({fault}); build the data set again"
        ) from None
    return pieces if len(pieces) == documents else np.arange(documents, dtype=np.int64)


def compared_bars(vocabulary: Vocabulary) -> int:
    """Return the bars of the windows in which music is compared: a model's own, at most eight."""
    return min(vocabulary.settings.bars, MOST_BARS)


def whole_windows(documents: SplitWindows, vocabulary: Vocabulary) -> tuple[list[Piece], IntArray]:
    """Return the pieces and groups of all windows of `compared_bars` bars; longer ones are cut.

    The last window of a piece is mostly shorter; comparing it with whole ones would find that.
    """
    whole = np.flatnonzero(_bars(documents, vocabulary) >= compared_bars(vocabulary))
    return compared_windows(*_decoded(documents.take(whole), vocabulary), vocabulary)


def compared_windows(
    pieces: Sequence[Piece], groups: IntArray, vocabulary: Vocabulary
) -> tuple[list[Piece], IntArray]:
    """Cut pieces by `cut_whole` into windows of `compared_bars`, each of its piece's group."""
    parts = [cut_whole(piece, compared_bars(vocabulary)) for piece in pieces]
    return list(chain.from_iterable(parts)), np.repeat(groups, [len(part) for part in parts])


def cut_whole(piece: Piece, bars: int) -> list[Piece]:
    """Cut a piece into windows; a shorter last one counts only where there is no other."""
    if piece.bars == bars:
        return [piece]
    cut = windows(piece, bars, bars)
    return [window for window in cut if window.bars == bars] or cut


def closing_windows(
    documents: SplitWindows, vocabulary: Vocabulary
) -> tuple[list[Piece], IntArray]:
    """Return the pieces and groups of the windows that end with the piece they are cut from."""
    last = documents.places[:, 0] + _bars(documents, vocabulary)
    known = documents.places[:, 1] != UNKNOWN
    return _decoded(
        documents.take(np.flatnonzero(known & (last == documents.places[:, 1]))), vocabulary
    )


def _bars(documents: SplitWindows, vocabulary: Vocabulary) -> IntArray:
    """Return the bars of each window."""
    ends = np.array([(t == vocabulary.bar_end).sum() for t in documents.tokens], np.int64)
    tracks = np.array([(t == vocabulary.track_end).sum() for t in documents.tokens], np.int64)
    bars: IntArray = ends // tracks
    return bars


def _decoded(documents: SplitWindows, vocabulary: Vocabulary) -> tuple[list[Piece], IntArray]:
    return [decode(tokens, vocabulary) for tokens in documents.tokens], documents.groups
