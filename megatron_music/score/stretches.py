"""The music in 4/4 of a score that changes its metre."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from megatron_music.score.notes import QUARTERS_PER_BAR, Score, Track

_ENDLESS = 2**40


class Stretch(NamedTuple):
    """Music in 4/4 from one tick up to another, and how many bars it takes, the last maybe cut."""

    first_ticks: int
    last_ticks: int
    bars: int


def common_time(score: Score, shortest_bars: int) -> tuple[Score, tuple[int, ...]]:
    """Lay the stretches in 4/4 of `shortest_bars` bars or more end to end, and leave out the rest.

    Returns that score and the bars at which its stretches begin; neither is cut where all is in
    4/4. A note belongs to the stretch it begins in and ends with it at the latest. One that begins
    a thirty-second note or less before the metre changes sounds in the next: it is left out.
    """
    if not score.other_metres:
        return score, (0,)
    bar_ticks = QUARTERS_PER_BAR * score.ticks_per_quarter
    stretches = [found for found in _stretches(score, bar_ticks) if found.bars >= shortest_bars]
    cuts = np.cumsum([0, *(stretch.bars for stretch in stretches)]).tolist()
    tracks = (_kept(track, score.ticks_per_quarter, stretches, cuts) for track in score.tracks)
    sounding = tuple(track for track in tracks if len(track))
    return Score(score.ticks_per_quarter, sounding, (), score.tempo_bpm), tuple(cuts[:-1])


def _stretches(score: Score, bar_ticks: int) -> Iterator[Stretch]:
    """Give all stretches in 4/4: until a signature says otherwise, a score is in it."""
    common, first = True, 0
    for metre in sorted(score.metres, key=lambda metre: metre.onset_ticks):
        if common and not metre.is_common_time:
            yield Stretch(first, metre.onset_ticks, -(-(metre.onset_ticks - first) // bar_ticks))
        if metre.is_common_time and not common:
            first = metre.onset_ticks
        common = metre.is_common_time
    if common:
        end = max((int(track.end.max()) for track in score.tracks if len(track)), default=0)
        yield Stretch(first, _ENDLESS, -(-(end - first) // bar_ticks))


def _kept(track: Track, ticks_per_quarter: int, stretches: list[Stretch], cuts: list[int]) -> Track:
    columns = [np.zeros((3, 0), np.int64)]
    for (first, last, _), bar in zip(stretches, cuts, strict=False):
        inside = (track.onset >= first) & (8 * (last - track.onset) > ticks_per_quarter)
        moved = bar * QUARTERS_PER_BAR * ticks_per_quarter - first
        onset, end = track.onset[inside] + moved, np.minimum(track.end[inside], last) + moved
        columns.append(np.stack((onset, end, track.pitch[inside])))
    return Track(track.instrument, *np.concatenate(columns, axis=1))
