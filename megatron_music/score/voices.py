"""Four tracks as the voices of a chorale."""

from dataclasses import replace

from megatron_music.score.instruments import VOICES
from megatron_music.score.notes import Score


def as_chorale(score: Score) -> Score | None:
    """Take four tracks as soprano, alto, tenor and bass; return None where there are not four."""
    if len(score.tracks) != len(VOICES):
        return None
    named = zip(score.tracks, VOICES, strict=True)
    return replace(score, tracks=tuple(replace(track, instrument=code) for track, code in named))
