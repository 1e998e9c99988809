"""From a score as read to a piece that belongs in a data set, or the reason why it does not."""

from collections.abc import Iterable, Sequence

from megatron_music.data.refusal import Refusal
from megatron_music.errors import MidiError
from megatron_music.score.notes import QUARTERS_PER_BAR, Piece, Score
from megatron_music.score.quantize import quantize

MOST_NOTES = 200_000
MOST_BARS = 4_000
"""Two hours at 120 beats a minute."""

FINGERPRINT_STEPS_PER_QUARTER = 4


def accept(score: Score, steps_per_quarter: int) -> tuple[Piece, Piece]:
    """Return the piece on its grid and on the grid of fingerprints; raises Refusal or MidiError."""
    _check_metre(score)
    _check_limits(score)
    coarse = quantize(score, FINGERPRINT_STEPS_PER_QUARTER)
    if steps_per_quarter == FINGERPRINT_STEPS_PER_QUARTER:
        return coarse, coarse
    return quantize(score, steps_per_quarter), coarse


def _check_metre(score: Score) -> None:
    others = {(m.numerator, m.denominator) for m in score.other_metres}
    if others:
        raise other_metre(others)


def other_metre(metres: Iterable[Sequence[int]]) -> Refusal:
    """Return the refusal of a piece with metres other than 4/4: numerators, denominators."""
    names = sorted({f"{numerator}/{denominator}" for numerator, denominator in metres})
    return Refusal("metre", f"{', '.join(names)}; only 4/4 throughout is modelled")


def _check_limits(score: Score) -> None:
    if score.ticks_per_quarter < 1:
        raise MidiError(f"{score.ticks_per_quarter} ticks a quarter note; it must be 1 or more")
    notes = sum(map(len, score.tracks))
    if not notes:
        raise MidiError("no notes; there is nothing to encode")
    if notes > MOST_NOTES:
        raise Refusal("large", f"{notes} notes; the limit is {MOST_NOTES}")
    last = max(int(track.end.max()) for track in score.tracks if len(track))
    bars = last // (score.ticks_per_quarter * QUARTERS_PER_BAR) + 1
    if bars > MOST_BARS:
        raise Refusal("large", f"{bars} bars; the limit is {MOST_BARS}")
