"""The bars of a score: where each begins, and which music is left out since nothing models it.

A time signature begins a bar. A bar that it breaks off is one of a shorter metre, if there is one
of its length; else a rest fills it up, and no window reaches over its end. So a pick-up that a
file writes as a short bar stays one. Barlines are on sixteenth notes: a shift of less than half a
sixteenth is the rounding of a clock.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from megatron_music.score.metre import COMMON_TIME, METRES, SIXTEENTHS, TimeSignature, cut_short
from megatron_music.score.notes import IntArray, Score, Tempo, Track
from megatron_music.score.tempo import tempos_at

_ENDLESS = 2**40

_MOST_QUARTERS_BEHIND = 16_000
"""How far after the last note time signatures count: further than any window is long."""


@dataclass(frozen=True)
class Region:
    """Music from one tick up to another, and the bars that it takes.

    `breaks` says that a rest fills up the last of them.
    """

    first_ticks: int
    last_ticks: int
    bars: tuple[TimeSignature, ...]
    breaks: bool = False

    @property
    def sixteenths(self) -> int:
        """The length of its bars."""
        return sum(metre.sixteenths for metre in self.bars)


def other_metres(score: Score, metres: Collection[TimeSignature]) -> list[TimeSignature]:
    """Return the metres of a score that are not among these; without signatures it is in 4/4."""
    signed = [metre.signature for metre in score.metres]
    begins = min((metre.onset_ticks for metre in score.metres), default=1)
    return [one for one in (*signed, *[COMMON_TIME] * (begins > 0)) if one not in metres]


def in_own_bars(score: Score) -> Score:
    """Lay a score out in the bars of its metres; leave one with a metre not in METRES as it is."""
    return score if other_metres(score, METRES) else lay_out_bars(score, 1, METRES)[0]


def lay_out_bars(
    score: Score, shortest_bars: int, metres: Collection[TimeSignature] = (COMMON_TIME,)
) -> tuple[Score, tuple[int, ...]]:
    """Lay the music in some metres out in bars end to end, and leave out the rest.

    Where there is a rest to leave out, so are stretches of fewer than `shortest_bars` bars.

    Returns that score and the bars at which windows begin anew, since none reaches over them; a
    score in 4/4 throughout stays as it is. A note belongs to the stretch it begins in and ends
    with it at the latest. One that begins a thirty-second note or less before music that is left
    out sounds in that: it is left out, too.
    """
    if not score.other_metres and COMMON_TIME in metres:
        return score, (0,)
    shortest = shortest_bars if other_metres(score, metres) else 1
    stretches = [
        stretch
        for stretch in _stretches(score, metres)
        if sum(len(region.bars) for region in stretch) >= shortest
    ]
    regions = [region for stretch in stretches for region in stretch]
    ends = [stretch[-1].last_ticks for stretch in stretches for _ in stretch]
    # Windows begin anew where a stretch begins, and after a bar that a rest fills up.
    bar, cuts = 0, set[int]()
    for stretch in stretches:
        cuts.add(bar)
        for region in stretch:
            bar += len(region.bars)
            cuts |= {bar} if region.breaks else set()
    cuts.discard(bar)  # the end
    tracks = (_moved(track, score.ticks_per_quarter, regions, ends) for track in score.tracks)
    kept = replace(
        score,
        tracks=tuple(track for track in tracks if len(track)),
        metres=(),
        bars=tuple(metre for region in regions for metre in region.bars),
        tempos=_moved_tempos(score, regions),
    )
    return kept, tuple(sorted(cuts))


def _moved_tempos(score: Score, regions: list[Region]) -> tuple[Tempo, ...]:
    """Return the tempos of regions laid end to end."""
    if not score.tempos or not regions:
        return ()
    origins = _origins(regions, score.ticks_per_quarter).tolist()
    begins = np.array([region.first_ticks for region in regions], np.int64)
    moved = []
    for region, origin, limit, first_us in zip(
        regions,
        origins[:-1],
        [*origins[1:-1], _ENDLESS],
        tempos_at(begins, score.tempos),
        strict=True,
    ):
        moved.append(Tempo(origin, first_us))
        for tempo in score.tempos:
            laid = tempo.onset_ticks - region.first_ticks + origin
            if region.first_ticks < tempo.onset_ticks < region.last_ticks and laid < limit:
                moved.append(Tempo(laid, tempo.quarter_us))
    return tuple(moved)


def _stretches(score: Score, metres: Collection[TimeSignature]) -> list[list[Region]]:
    """Return the longest runs of regions in these metres."""
    end = max((int(track.end.max()) for track in score.tracks if len(track)), default=0)
    # A signature years after the music would need all the bars until then.
    latest = end + _MOST_QUARTERS_BEHIND * score.ticks_per_quarter
    # Until a signature says otherwise, a score is in 4/4.
    marks = [(0, COMMON_TIME)]
    for sign in sorted(score.metres, key=lambda sign: sign.onset_ticks):
        if sign.signature != marks[-1][1]:
            marks.append((min(sign.onset_ticks, latest), sign.signature))
    marks = marks[: 1 + sum(onset < latest for onset, _ in marks)]
    found: list[list[Region]] = [[]]
    for (first, metre), (last, following) in zip(
        marks, [*marks[1:], (_ENDLESS, COMMON_TIME)], strict=True
    ):
        if metre not in metres:
            found.append([])
            continue
        ticks = score.ticks_per_quarter
        if last == _ENDLESS or following not in metres:  # the last bar is taken whole
            until = end if last == _ENDLESS else last
            bars = -(-SIXTEENTHS * (until - first) // (metre.sixteenths * ticks))
            found[-1].append(Region(first, last, (metre,) * bars))
            continue
        # The nearest sixteenth: what a clock rounds off makes no bar of another length.
        bars, rest = divmod(
            (2 * SIXTEENTHS * (last - first) + ticks) // (2 * ticks), metre.sixteenths
        )
        short = cut_short(rest, metre.denominator, metres) if rest else None
        broken = (short or metre,) if rest else ()
        breaks = bool(rest) and short is None
        found[-1].append(Region(first, last, (metre,) * bars + broken, breaks))
    return [stretch for stretch in found if stretch]


def _moved(track: Track, ticks_per_quarter: int, regions: list[Region], ends: list[int]) -> Track:
    """Return the notes of a track that begin in regions, laid end to end."""
    if not regions or not len(track):
        return track.some(slice(0))
    firsts, lasts = (
        np.array([getattr(region, name) for region in regions], np.int64)
        for name in ("first_ticks", "last_ticks")
    )
    origins = _origins(regions, ticks_per_quarter)
    stops = np.array(ends, np.int64)
    place = np.searchsorted(firsts, track.onset, side="right") - 1
    inside = (place >= 0) & (track.onset < lasts[place])
    inside &= 8 * (stops[place] - track.onset) > ticks_per_quarter
    place, onset, end = place[inside], track.onset[inside], track.end[inside]
    end = np.minimum(end, stops[place])
    # A note without length ends in the region that it begins in.
    ends_in = np.maximum(np.searchsorted(firsts, end, side="left") - 1, place)

    def at(ticks: IntArray, regions_of: IntArray) -> IntArray:
        moved = ticks - firsts[regions_of] + origins[regions_of]
        laid: IntArray = np.minimum(moved, origins[regions_of + 1])
        return laid

    return track.some(inside, at(onset, place), at(end, ends_in))


def _origins(regions: list[Region], ticks_per_quarter: int) -> IntArray:
    """Return the ticks at which regions are laid, followed by that of the end."""
    sixteenths = np.cumsum([0, *(region.sixteenths for region in regions)], dtype=np.int64)
    # The nearest ticks: bars of eighths may begin between two of a coarse clock.
    origins: IntArray = (2 * sixteenths * ticks_per_quarter + SIXTEENTHS) // (2 * SIXTEENTHS)
    return origins
