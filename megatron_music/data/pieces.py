"""From a score as read to a piece that belongs in a data set, or the reason why it does not."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from megatron_music.data.refusal import Refusal
from megatron_music.data.settings import BuildSettings
from megatron_music.errors import MidiError
from megatron_music.score.instruments import VOICES
from megatron_music.score.merge import merge
from megatron_music.score.metre import COMMON_TIME, TimeSignature, time_signatures
from megatron_music.score.notes import QUARTERS_PER_BAR, Piece, Score
from megatron_music.score.quantize import quantize
from megatron_music.score.stretches import lay_out_bars, other_metres
from megatron_music.score.voices import as_chorale
from megatron_music.wording import counted

MOST_NOTES = 200_000
MOST_BARS = 4_000
"""Two hours at 120 beats a minute."""

FINGERPRINT_STEPS_PER_QUARTER = 4
_MANY = 5


@dataclass(frozen=True)
class Accepted:
    """A piece on its grid and, `coarse`, on that of fingerprints; `cuts` as in `windows`.

    `remark` says what was left out of it.
    """

    piece: Piece
    coarse: Piece
    cuts: tuple[int, ...]
    remark: str = ""


def accept(score: Score, settings: BuildSettings) -> Accepted:
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
        return Accepted(coarse, coarse, cuts, remark)
    return Accepted(quantize(score, settings.steps_per_quarter), coarse, cuts, remark)


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
