"""Which instruments play together: those of some training windows, for songs from nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from megatron_music.data.indexed import IndexedReader, documents_in
from megatron_music.data.settings import BuildSettings
from megatron_music.score.instruments import INSTRUMENT_COUNT, instrument_name
from megatron_music.tokenizer.attributes import UNKNOWN
from megatron_music.tokenizer.vocabulary import (
    MOST_INSTRUMENTATIONS,
    TokenArray,
    TokenizerSettings,
    Vocabulary,
    vocabulary_of,
)
from megatron_music.tokenizer.windows import WHOLE, fixed_draw, plan

_LOOKED_AT = 4 * MOST_INSTRUMENTATIONS  # some are shorter than a window: the ends of pieces


def with_instrumentations(
    settings: TokenizerSettings, prefix: Path, built: BuildSettings
) -> TokenizerSettings:
    """Return settings that know the instruments of training windows, evenly spread over them.

    `prefix` is that of the training `.bin/.idx`, `built` what these were built with.
    Where all pieces have the same instruments, nothing is to be known.
    """
    if settings.ensemble:
        return settings
    vocabulary, reader = vocabulary_of(settings), IndexedReader(prefix)
    windows = (_windows_of_pieces if built.pieces else _windows)(reader, vocabulary, built)
    whole = [w for w in windows if _bars(w, vocabulary) == settings.bars] or windows
    chosen = [whole[i] for i in _spread(len(whole), MOST_INSTRUMENTATIONS)]
    rows = sorted(
        (_names(window, vocabulary), len(window), _labels(window, vocabulary)) for window in chosen
    )
    return replace(
        settings,
        instrumentations=tuple(names for names, _, _ in rows),
        instrumentation_tokens=tuple(tokens for _, tokens, _ in rows),
        instrumentation_labels=tuple(
            labels for _, _, labels in rows if vocabulary.settings.attributes
        ),
    )


def _windows(reader: IndexedReader, _: Vocabulary, __: BuildSettings) -> list[TokenArray]:
    return [np.asarray(reader[i], np.uint16) for i in _spread(len(reader), _LOOKED_AT)]


def _windows_of_pieces(
    reader: IndexedReader, vocabulary: Vocabulary, built: BuildSettings
) -> list[TokenArray]:
    pieces = documents_in(reader, np.array(_spread(len(reader), _LOOKED_AT), np.int64))
    draw = fixed_draw(shuffle=built.shuffle, max_tracks=built.max_tracks)
    cut = plan(pieces, draw, built.bars, WHOLE, vocabulary, moves=False)
    return [cut.read(i) for i in _spread(len(cut), _LOOKED_AT)]


def _spread(total: int, most: int) -> list[int]:
    """Return up to `most` of `total` places, evenly spread."""
    count = min(total, most)
    return [place * total // count for place in range(count)]


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
