"""The rules of `data build --quality`: which music is left out, each rule with its reason.

Each rule looks at the whole piece as its source gives it, so that its verdict does not depend on
windows, keys or vocabularies; only the grid counts. Near duplicates are found by `sketch`: runs of
intervals and times between notes, which transposition does not change.
"""

from collections.abc import Callable, Sequence

import numpy as np

from megatron_music.data.records import Refusal
from megatron_music.data.shards.grid_cost import off_grid_share
from megatron_music.data.shards.near_duplicates import PERMUTATIONS, Signatures, signatures
from megatron_music.score.instruments import DRUMS
from megatron_music.score.key import PITCH_CLASSES
from megatron_music.score.notes import IntArray, Score, Track

FEWEST_NOTES = 12

WINDOW_NOTES = 64
"""Pitched notes in a row whose scale is looked for; shorter pieces are not judged by it."""

LEAST_IN_SCALE = 0.75
"""Share of notes in the best major scale of a window; random pitches have 0.62 to 0.73."""

FEWEST_ONSETS = 64
"""Sixteenths in which notes begin; pieces of fewer are not judged by their rhythm."""

LONGEST_LAG = 64
"""Sixteenths after which a rhythm may repeat: four bars of 4/4."""

LEAST_REPETITION = 0.25
"""Correlation of a rhythm with itself, at the best lag; random onsets have up to 0.21."""

MOST_OFF_GRID = 0.5
"""Share of notes that the grid moves."""

ALIKE = 0.7
"""Share of runs in common from which a piece is nearly another."""

_STEPS_PER_QUARTER = 4
_MOST_STEPS = 64_000  # as many bars as a piece may have
_RUN = 3
_LONGEST_GAP = 63  # 6 bits; an interval takes 8
_HASH = np.uint64(0x9E3779B97F4A7C15)

_MAJOR = np.isin(np.arange(PITCH_CLASSES), (0, 2, 4, 5, 7, 9, 11)).astype(np.float64)
_SCALES = np.array([np.roll(_MAJOR, tonic) for tonic in range(PITCH_CLASSES)])


def check_quality(score: Score, steps_per_quarter: int) -> None:
    """Raise the Refusal of the first rule that a score breaks."""
    for reason, fault_of in RULES.items():
        if detail := fault_of(score, steps_per_quarter):
            raise Refusal(reason, detail)


def share_in_scale(score: Score) -> float | None:
    """Return the share of pitched notes in the best major scale, the mean over windows.

    Of windows of WINDOW_NOTES notes or more, one after the other, since music modulates. None for
    fewer notes.
    """
    tracks = _pitched(score)
    onset, pitch = _column(tracks, "onset"), _column(tracks, "pitch")
    count = len(pitch) // WINDOW_NOTES
    if not count:
        return None
    windows = np.array_split(pitch[np.lexsort((pitch, onset))] % PITCH_CLASSES, count)
    shares = [
        (_SCALES @ np.bincount(of, minlength=PITCH_CLASSES)).max() / len(of) for of in windows
    ]
    return float(np.mean(shares))


def repetition(score: Score) -> float | None:
    """Return how well the rhythm of a score repeats: its best autocorrelation, -1 to 1.

    Of the log of one and the notes that begin in each sixteenth, over lags of two sixteenths to
    LONGEST_LAG. None for a piece of few onsets.
    """
    steps = _steps(score, _column(score.tracks, "onset"))
    steps = steps[steps < steps.min() + _MOST_STEPS] - steps.min()
    loud = np.log1p(np.bincount(steps))
    if np.count_nonzero(loud) < FEWEST_ONSETS:
        return None
    best = -1.0
    for lag in range(2, min(LONGEST_LAG + 1, len(loud) // 2)):
        first, second = loud[:-lag] - loud[:-lag].mean(), loud[lag:] - loud[lag:].mean()
        scale = np.sqrt((first @ first) * (second @ second))
        # Steady beats are constant: numpy would divide by 0, and they do repeat.
        best = max(best, float(first @ second / scale) if scale > 0 else 1.0)
    return best


def sketch(score: Score) -> Signatures:
    """Return the MinHash signature [PERMUTATIONS] of a score's runs of notes."""
    of_tracks = []
    for track in _pitched(score) or score.tracks:
        # A run is a number: of each move from note to note the interval, and the gap in steps.
        order = np.lexsort((track.pitch, track.onset))
        interval = np.diff(track.pitch[order]) + 128
        gap = np.minimum(np.diff(_steps(score, track.onset[order])), _LONGEST_GAP)
        moves = ((interval << 6) + gap).astype(np.uint64)
        count = max(0, len(moves) - _RUN + 1)
        of_track = np.zeros(count, np.uint64)
        for place in range(_RUN):
            of_track = (of_track << np.uint64(14)) + moves[place : place + count]
        of_tracks.append(of_track)
    runs = np.concatenate(of_tracks)
    if not len(runs):  # tracks of a few notes: compared as a whole
        runs = (_column(score.tracks, "pitch") - _column(score.tracks, "onset")).astype(np.uint64)
    mixed = np.unique((runs * _HASH) >> np.uint64(32))
    return signatures([mixed.tolist()], int).reshape(PERMUTATIONS)


def _too_few_notes(score: Score, _steps_per_quarter: int) -> str:
    notes = sum(map(len, score.tracks))
    if notes < FEWEST_NOTES:
        return f"{notes} notes; the least is {FEWEST_NOTES}"
    pitch = _column(score.tracks, "pitch")
    return f"all {notes} notes have one pitch" if (pitch == pitch[0]).all() else ""


def _off_grid(score: Score, steps_per_quarter: int) -> str:
    share = off_grid_share(score, steps_per_quarter)
    if share <= MOST_OFF_GRID:
        return ""
    return f"{share:.0%} of the notes begin off the grid; the most is {MOST_OFF_GRID:.0%}"


def _without_key(score: Score, _steps_per_quarter: int) -> str:
    share = share_in_scale(score)
    if share is None or share >= LEAST_IN_SCALE:
        return ""
    return f"{share:.0%} of the notes are in one scale; the least is {LEAST_IN_SCALE:.0%}"


def _without_rhythm(score: Score, _steps_per_quarter: int) -> str:
    best = repetition(score)
    if best is None or best >= LEAST_REPETITION:
        return ""
    return f"the rhythm repeats with correlation {best:.2f}; the least is {LEAST_REPETITION}"


RULES: dict[str, Callable[[Score, int], str]] = {
    "sparse": _too_few_notes,
    "off-grid": _off_grid,
    "atonal": _without_key,
    "arrhythmic": _without_rhythm,
}
"""By reason, what is wrong with a score on a grid; empty where nothing is."""


def _pitched(score: Score) -> list[Track]:
    return [track for track in score.tracks if track.instrument != DRUMS and len(track)]


def _column(tracks: Sequence[Track], name: str) -> IntArray:
    return np.concatenate([np.zeros(0, np.int64), *(getattr(track, name) for track in tracks)])


def _steps(score: Score, ticks: IntArray) -> IntArray:
    return (ticks * _STEPS_PER_QUARTER + score.ticks_per_quarter // 2) // score.ticks_per_quarter
