"""A small critic: a logistic regression on the measures of a piece, real against composed.

Its cross-validated area under the ROC curve (AUC) says how well: 0.5 cannot tell, 1.0 always can.
The critic of a report ranks variations: the more real one looks, the higher its score.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from megatron_music.errors import InputError, MissingError
from megatron_music.evaluate.bootstrap import RESAMPLES, Estimate, FloatArray, interval
from megatron_music.evaluate.comparison import WindowSet
from megatron_music.evaluate.corpus import compared_bars, cut_whole
from megatron_music.evaluate.measures import FIGURES, HISTOGRAMS
from megatron_music.files import write_text
from megatron_music.generate.song import Song
from megatron_music.score.notes import IntArray, Piece
from megatron_music.tokenizer.vocabulary import Vocabulary

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


CRITIC_FILE = "critic.json"
FOLDS = 5
REPEATS = 5
STRENGTH = 0.05
"""Inverse strength of the L2 penalty: some eighty measures on some hundreds of pieces."""

FAR, FOREIGN_SHARE = 4.0, 0.1
"""Music is of another kind if more than this share of its measures is FAR deviations off.

Windows of held-out chorales have 1.2 % at most, of rock bands 15 to 36 % to a critic of chorales.
"""

LEAST_SCALE = 0.01
"""The deviation of a measure that is the same in all windows."""

_FINEST_GRID, _MOST_BARS = 96, 1000


@dataclass(frozen=True)
class Critic:
    """A fitted critic: `weights` on standardised features of windows of `bars` bars.

    Numbers that cannot judge anything raise ValueError or TypeError.
    """

    steps_per_quarter: int
    bars: int
    means: tuple[float, ...]
    scales: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float

    def __post_init__(self) -> None:
        """Check the number of measures: other versions have others."""
        if not (1 <= self.steps_per_quarter <= _FINEST_GRID and 1 <= self.bars <= _MOST_BARS):
            raise ValueError(f"{self.bars} bars of {self.steps_per_quarter} steps a quarter")
        count = features([Piece(self.steps_per_quarter, 1, ())]).shape[1]
        learned = np.array([self.means, self.scales, self.weights], np.float64)
        if learned.shape != (3, count) or not np.isfinite([*learned.ravel(), self.intercept]).all():
            raise ValueError(f"not three rows of {count} numbers, as this version measures")

    def score(self, piece: Piece) -> float:
        """Return how real a piece looks, 0..1; a long one is the mean of its windows."""
        evidence = self._standard(piece) @ np.array(self.weights) + self.intercept
        return float((1 / (1 + np.exp(-evidence))).mean())

    def is_out_of_domain(self, piece: Piece) -> bool:
        """Tell whether a piece is of a kind that the critic was not fitted to, so has no score."""
        far = np.abs(self._standard(piece)) > FAR
        return bool(far.mean() > FOREIGN_SHARE)

    def _standard(self, piece: Piece) -> FloatArray:
        """Return the features of a piece's windows, in deviations from the music of the fit."""
        measured = features(cut_whole(piece, self.bars))
        standard: FloatArray = (measured - np.array(self.means)) / np.array(self.scales)
        return standard

    def save(self, folder: Path) -> None:
        """Write `critic.json`; raises WriteError."""
        write_text(folder / CRITIC_FILE, json.dumps(asdict(self)) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a critic; raises InputError."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            values |= {key: tuple(v) for key, v in values.items() if isinstance(v, list)}
            return cls(**values)
        except OSError as fault:
            raise InputError(
                f"cannot read {path}: {fault.strerror}; give the {CRITIC_FILE} that evaluate wrote"
            ) from fault
        except (ValueError, TypeError, AttributeError):
            raise InputError(
                f"{path} is not a critic; give the {CRITIC_FILE} that evaluate wrote"
            ) from None


@dataclass(frozen=True)
class CriticResult:
    """The critic, how well it separates composed from real music, and each song's score by seed.

    `control` is how well the same kind of critic separates held-out from training music.
    """

    critic: Critic
    area: Estimate
    control: Estimate
    real_scores: tuple[float, ...]
    song_scores: dict[int, float]

    @property
    def ranking(self) -> list[int]:
        """Seeds, from the song that looks most real to the one that looks least."""
        return sorted(self.song_scores, key=lambda seed: -self.song_scores[seed])


def features(pieces: Sequence[Piece]) -> FloatArray:
    """Return all measures of pieces of one grid as rows, [pieces, features]."""
    return np.array(
        [
            [
                *(figure(piece) for figure in FIGURES.values()),
                *np.concatenate([histogram(piece) for histogram in HISTOGRAMS.values()]),
            ]
            for piece in pieces
        ]
    )


def train(real: FloatArray, composed: FloatArray, steps_per_quarter: int, bars: int) -> Critic:
    """Fit a critic on the features of real and of composed windows; raises MissingError."""
    model = fit_separator(real, composed)
    scaler, regression = model[0], model[-1]
    return Critic(
        steps_per_quarter=steps_per_quarter,
        bars=bars,
        means=tuple(scaler.mean_.tolist()),
        # A measure without variance gets no weight; it still shows music of another kind.
        scales=tuple(np.where(scaler.var_ > 0, scaler.scale_, LEAST_SCALE).tolist()),
        weights=tuple(regression.coef_[0].tolist()),
        intercept=float(regression.intercept_[0]),
    )


def fit_separator(real: FloatArray, composed: FloatArray) -> "Pipeline":
    """Fit a regression whose decision is positive for real music; raises MissingError."""
    return fit(np.concatenate((real, composed)), _labels(real, composed))


def judge_songs(
    sets: Sequence[WindowSet], songs: Sequence[Song], vocabulary: Vocabulary
) -> CriticResult:
    """Fit the critic on real music and on the songs; estimate its AUC by cross-validation.

    `sets` are training, held-out and composed music.
    """
    training, held_out, composed = (features(music.pieces) for music in sets)
    real = np.concatenate((training, held_out))
    # The pieces of each set are numbered from 0.
    groups = np.concatenate((sets[0].groups, sets[1].groups + int(sets[0].groups.max()) + 1))
    area = cross_validated(real, composed, groups, sets[2].groups)
    control = cross_validated(training, held_out, sets[0].groups, sets[1].groups)
    grid = vocabulary.settings.steps_per_quarter
    judge = train(real, composed, grid, compared_bars(vocabulary))

    def scores(pieces: Sequence[Piece]) -> list[float]:
        """Return the critic's score of each piece."""
        return [judge.score(piece) for piece in pieces]

    return CriticResult(
        critic=judge,
        area=area,
        control=control,
        real_scores=tuple(scores([*sets[0].pieces, *sets[1].pieces])),
        song_scores=dict(
            zip((song.seed for song in songs), scores([s.piece for s in songs]), strict=True)
        ),
    )


def cross_validated(
    first: FloatArray, second: FloatArray, first_groups: IntArray, second_groups: IntArray
) -> Estimate:
    """Estimate the AUC of separating `first` from `second` [n, features], on unseen pieces.

    Windows of one piece stay on one side of each fold; the folds are drawn REPEATS times. The
    interval resamples pieces, with the fits as they are.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    everything = np.concatenate((first, second))
    labels = _labels(first, second)
    groups = np.concatenate((first_groups, second_groups + int(first_groups.max()) + 1))
    wins = np.zeros((len(first), len(second)))
    met = np.zeros_like(wins)
    for repeat in range(REPEATS):
        # By piece: windows of one piece are alike, and one in each part would inflate the AUC.
        splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=repeat)
        for fitted, held_out in splitter.split(np.zeros(len(labels)), labels, groups):
            scores = fit(everything[fitted], labels[fitted]).decision_function(everything)
            # Scores of different folds come from different fits and cannot be compared.
            ours, theirs = (held_out[labels[held_out] == label] for label in (1, 0))
            wins[np.ix_(ours, theirs - len(first))] += _wins(scores[ours], scores[theirs])
            met[np.ix_(ours, theirs - len(first))] += 1
    return _area(wins, met, first_groups, second_groups)


def area_under_curve(
    first: FloatArray, second: FloatArray, first_groups: IntArray, second_groups: IntArray
) -> Estimate:
    """Estimate the chance that a score of `first` [n] is higher than one of `second` [m].

    Equal scores count half: the area under the ROC curve (Hanley and McNeil 1982).
    """
    wins = _wins(first, second)
    return _area(wins, np.ones_like(wins), first_groups, second_groups)


def _wins(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return 1 where a score of `first` is above one of `second`, 0.5 where equal, [n, m]."""
    above: FloatArray = np.sign(first[:, None] - second) / 2 + 0.5
    return above


def _area(
    wins: FloatArray, met: FloatArray, first_groups: IntArray, second_groups: IntArray
) -> Estimate:
    """Estimate the share of `wins` among the pairs that have `met`, both [n, m]."""
    stream = np.random.default_rng(0)
    left = _times_drawn(first_groups, stream)
    right = _times_drawn(second_groups, stream)
    won, total = (((left @ pairs) * right).sum(1) for pairs in (wins, met))
    return interval(won / np.maximum(total, 1))


def _times_drawn(groups: IntArray, stream: np.random.Generator) -> FloatArray:
    """Return how often each row counts, [1 + RESAMPLES, n]: once, then by resampled groups."""
    names, group = np.unique(groups, return_inverse=True)
    drawn = stream.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    times = np.concatenate((np.ones((1, len(names)), np.int64), drawn))[:, group]
    return times.astype(np.float64)


def _labels(first: FloatArray, second: FloatArray) -> IntArray:
    return np.concatenate((np.ones(len(first), np.int64), np.zeros(len(second), np.int64)))


def fit(rows: FloatArray, labels: IntArray) -> "Pipeline":
    """Fit a logistic regression of labels on features [n, features]; raises MissingError."""
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ModuleNotFoundError as fault:
        raise MissingError(
            f"evaluation needs {fault.name}; install it: pip install 'megatron-music[evaluate]'"
        ) from None
    regression = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=1000)
    return make_pipeline(StandardScaler(), regression).fit(rows, labels)
