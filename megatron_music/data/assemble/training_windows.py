"""What training reads of a data set, seen in some of its windows: instruments, labels, lengths."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from megatron_music.data.indexed import IndexedReader, documents_in, labels_in, spread
from megatron_music.data.manifest import split_record
from megatron_music.data.settings import BuildSettings
from megatron_music.score.hashing import scramble
from megatron_music.score.instruments import INSTRUMENT_COUNT, instrument_name
from megatron_music.tokenizer.attributes import UNKNOWN
from megatron_music.tokenizer.instrumentations import (
    FEWEST_OF_A_LABEL,
    MOST_DRAWN,
    Instrumentation,
    with_instrumentations,
    with_rare_labels,
)
from megatron_music.tokenizer.vocabulary import (
    TokenArray,
    TokenizerSettings,
    Vocabulary,
    vocabulary_of,
)
from megatron_music.tokenizer.windows import WHOLE, Windows, fixed_draw, plan

_LOOKED_AT = 4 * MOST_DRAWN  # some are shorter than a window: the ends of pieces


def with_training_instruments(
    settings: TokenizerSettings, prefix: Path, built: BuildSettings
) -> TokenizerSettings:
    """Return settings that know the instruments of training windows, evenly spread over them.

    `prefix` is that of the training `.bin/.idx`, `built` what these were built with. Each label has
    some windows. Where all pieces have the same instruments, nothing is to be known.
    """
    if settings.ensemble:
        return settings
    vocabulary, reader = vocabulary_of(settings), IndexedReader(prefix)
    rows = _instrumentations(reader, spread(len(reader), _LOOKED_AT), vocabulary, built)
    drawn = sorted(rows[i] for i in spread(len(rows), MOST_DRAWN))
    if settings.attributes:
        of_rare = _of_rare_labels(drawn, reader, vocabulary)
        others = _instrumentations(reader, of_rare, vocabulary, built)
        # In an order that mixes pieces: the few windows of a label shall be of several.
        order = np.argsort(scramble(np.arange(len(others), dtype=np.uint64)), kind="stable")
        drawn = with_rare_labels(drawn, (others[i] for i in order.tolist()))
    return with_instrumentations(settings, drawn)


def window_record(
    settings: TokenizerSettings, prefix: Path, built: BuildSettings
) -> dict[str, Any]:
    """Return what a manifest keeps of the windows that training draws from whole pieces.

    It has the fields of a split's record: `documents` are windows, `pieces` the documents that were
    looked at, some of many.
    """
    reader = IndexedReader(prefix)
    documents = spread(len(reader), _LOOKED_AT)
    sizes = _windows(reader, documents, vocabulary_of(settings), built, fill=built.fill).sizes
    return {
        "bars": built.bars,
        **split_record(len(documents), len(sizes), int(sizes.sum()), np.bincount(sizes)),
    }


def _windows(
    reader: IndexedReader,
    documents: list[int],
    vocabulary: Vocabulary,
    built: BuildSettings,
    *,
    fill: bool = False,
) -> Windows:
    """Return windows of whole pieces, in their own key, whatever their length."""
    draw = fixed_draw(fill=fill, shuffle=built.shuffle, max_tracks=built.max_tracks)
    pieces = documents_in(reader, np.array(documents, np.int64))
    return plan(pieces, draw, built.bars, WHOLE, vocabulary, moves=False)


def _instrumentations(
    reader: IndexedReader, documents: list[int], vocabulary: Vocabulary, built: BuildSettings
) -> list[Instrumentation]:
    """Return the rows of windows of some documents; without short ones where there are others."""
    if built.pieces:
        cut = _windows(reader, documents, vocabulary, built)
        windows = [cut.read(i) for i in spread(len(cut), _LOOKED_AT)]
    else:
        windows = [np.asarray(reader[i], np.uint16) for i in documents]
    whole = [one for one in windows if _bars(one, vocabulary) == vocabulary.settings.bars]
    return [
        Instrumentation(_names(one, vocabulary), len(one), _labels(one, vocabulary))
        for one in whole or windows
    ]


def _of_rare_labels(
    drawn: list[Instrumentation], reader: IndexedReader, vocabulary: Vocabulary
) -> list[int]:
    """Return some documents of each label that hardly any of the windows have."""
    words = vocabulary.settings.attributes
    tokens = labels_in(reader, vocabulary)
    labels = tokens.ravel() - vocabulary.attribute
    # Sorted once, since thousands of labels and millions of documents are possible.
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], np.arange(len(words) + 1))
    known = Counter(label for row in drawn for label in row.labels.split())
    chosen: set[int] = set()
    for number, word in enumerate(words):
        if known[word] < FEWEST_OF_A_LABEL and not word.endswith(f"={UNKNOWN}"):
            of_label = order[ends[number] : ends[number + 1]] // tokens.shape[1]
            chosen.update(int(of_label[i]) for i in spread(len(of_label), FEWEST_OF_A_LABEL))
    return sorted(chosen)


def _bars(tokens: TokenArray, vocabulary: Vocabulary) -> int:
    """Return the bars of a window, hidden ones included."""
    marks = (vocabulary.track_start, vocabulary.bar_end, vocabulary.ids["FILL_IN"])
    tracks, shown, hidden = (int(np.count_nonzero(tokens == mark)) for mark in marks)
    return (shown + hidden) // max(tracks, 1)


def _names(tokens: TokenArray, vocabulary: Vocabulary) -> str:
    """Return the instruments of a window, ascending, as `TokenizerSettings` keeps them."""
    codes = tokens.astype(np.int64) - vocabulary.inst
    played = np.sort(codes[(codes >= 0) & (codes < INSTRUMENT_COUNT)])
    return " ".join(instrument_name(code) for code in played.tolist())


def _labels(tokens: TokenArray, vocabulary: Vocabulary) -> str:
    """Return the labels of a window, but for unknown ones, as `TokenizerSettings` keeps them."""
    words = vocabulary.settings.attributes
    numbers = tokens.astype(np.int64) - vocabulary.attribute
    found = [words[number] for number in numbers.tolist() if 0 <= number < len(words)]
    return " ".join(word for word in found if not word.endswith(f"={UNKNOWN}"))
