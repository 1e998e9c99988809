"""Choose the best of many songs by a critic of the model.

An exported folder carries the measures of some windows of its training music. A critic of these
against the songs themselves ranks them: the more real a song looks, the better.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from megatron_music.data.settings import SPLITS
from megatron_music.errors import CheckpointError, DataError, UsageError
from megatron_music.evaluate.bootstrap import FloatArray
from megatron_music.evaluate.corpus import compared_bars, cut_whole, read_split, whole_windows
from megatron_music.evaluate.critic import features, fit_separator
from megatron_music.evaluate.voices import VOICE_FIGURES, ends_on_the_tonic
from megatron_music.files import atomic_write
from megatron_music.generate.song import Song
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.vocabulary import Vocabulary

REAL_MUSIC_FILE = "real_music.npy"
MOST_WINDOWS, FEWEST_WINDOWS = 256, 10
"""The number of windows of real music that a critic is trained on; fewer are too few."""

FAULTS = (
    "parallel fifths a bar", "parallel octaves a bar", "dissonant pairs", "voices crossed",
)  # fmt: skip
USUAL_SHARE = 0.98
"""A fault counts where it is above this quantile of real windows."""


@dataclass(frozen=True)
class RealMusic:
    """The measures of windows of training music, [windows, measures] as `measures`."""

    rows: FloatArray

    @classmethod
    def of(cls, data: Path, vocabulary: Vocabulary) -> Self:
        """Measure windows of a data set, evenly spread; raises DataError."""
        split = read_split(data, SPLITS[0], MOST_WINDOWS, vocabulary)
        pieces, _ = whole_windows(split, vocabulary)
        if len(pieces) < FEWEST_WINDOWS:
            raise DataError(
                f"{data} has {len(pieces)} whole windows for training; a critic needs "
                f"{FEWEST_WINDOWS}"
            )
        return cls(measures(pieces, vocabulary))

    @classmethod
    def load(cls, model: Path) -> Self | None:
        """Read the measures in an exported folder, None without any; raises CheckpointError."""
        path = model / REAL_MUSIC_FILE
        if not path.is_file():
            return None
        try:
            rows = np.load(path, allow_pickle=False).astype(np.float64)
        except (ValueError, EOFError, OSError) as fault:
            raise CheckpointError(f"{path} is damaged ({fault}); export the run again") from None
        if rows.ndim != 2 or not len(rows) or not np.isfinite(rows).all():
            raise CheckpointError(f"{path} holds no measures; export the run again")
        return cls(rows)

    def save(self, model: Path) -> None:
        """Write the measures into an exported folder; raises WriteError."""
        with atomic_write(model / REAL_MUSIC_FILE) as temporary, temporary.open("wb") as file:
            np.save(file, self.rows.astype(np.float32))


def has_real_music(model: Path) -> bool:
    """Tell whether an exported folder has the measures that songs are ranked by."""
    return (model / REAL_MUSIC_FILE).is_file()


def real_music(model: Path, data: Path | None, vocabulary: Vocabulary) -> RealMusic:
    """Return the measures in an exported folder, else those of its training data.

    Raises UsageError where there is neither.
    """
    found = RealMusic.load(model)
    if found is not None:
        return found
    if data is None:
        raise UsageError(
            f"{model} carries no {REAL_MUSIC_FILE} to rank by, and its training data are not "
            "there; export the run again, or name the data with --data"
        )
    return RealMusic.of(data, vocabulary)


def best_of(
    songs: Sequence[Song],
    count: int,
    real: RealMusic,
    vocabulary: Vocabulary,
    *,
    closing: bool = False,
) -> list[Song]:
    """Return the `count` songs that look most like real music, the best first.

    A song of more than eight bars is judged by the mean of its windows. Of songs in four voices
    those with more of FAULTS than 98 % of real windows come last; with `closing` those that close
    on the tonic triad come first. Raises CheckpointError where another version measured the real
    music.
    """
    parts = [cut_whole(song.piece, compared_bars(vocabulary)) for song in songs]
    composed = measures([window for part in parts for window in part], vocabulary)
    if composed.shape[1] != real.rows.shape[1]:
        raise CheckpointError(
            f"{REAL_MUSIC_FILE} has {real.rows.shape[1]} measures, this version has "
            f"{composed.shape[1]}; remove it and export the run again"
        )
    evidence = fit_separator(real.rows, composed).decision_function(composed)
    # A regression cannot see extremes: most songs cross voices no more than real music does.
    faulty = np.zeros(len(composed))
    if vocabulary.settings.voices:
        columns = [list(VOICE_FIGURES).index(name) - len(VOICE_FIGURES) for name in FAULTS]
        usual = np.quantile(real.rows[:, columns], USUAL_SHARE, axis=0)
        faulty = (composed[:, columns] > usual).sum(1).astype(np.float64)
    edges = np.cumsum([0, *map(len, parts)])[:-1]
    scores, faults = (
        np.add.reduceat(of_windows, edges) / [len(part) for part in parts]
        for of_windows in (evidence, faulty)
    )
    # The critic weighs the last chord as one of many figures; a listener does not.
    closes = np.array([closing and ends_on_the_tonic(song.piece) for song in songs], np.float64)
    order = np.lexsort((-scores, faults, -closes))
    return [songs[place] for place in order[:count].tolist()]


def measures(pieces: Sequence[Piece], vocabulary: Vocabulary) -> FloatArray:
    """Return the measures for ranking songs, [pieces, measures]: the critic's, those of voices."""
    figures = VOICE_FIGURES.values() if vocabulary.settings.voices else ()
    of_voices = [[figure(piece) for figure in figures] for piece in pieces]
    return np.concatenate((features(pieces), np.array(of_voices, np.float64)), axis=1)
