"""The bars of columns of notes, compiled: the same as `bar_layout.lay_out_bars`."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.score.grid_kernel import MOST_BARS
from megatron_music.score.jit import kernel, wide
from megatron_music.score.metre import COMMON_TIME, SIXTEENTHS, TimeSignature, cut_short
from megatron_music.score.midi_columns import (
    COUNT,
    END,
    MOST_METRES,
    ONSET,
    PITCH,
    TRACK,
    TRACK_ROWS,
    VELOCITY,
    Columns,
)

Cells = npt.NDArray[np.int64]

FIRST, LAST, ORIGIN, LIMIT, STOP = range(5)
"""Rows of regions: the ticks each begins and ends at, the ticks that its beginning and its end are
laid at, and the tick at which its stretch ends."""

_REGION_ROWS = 5
_ENDLESS = 2**40
_NONE = -1


class Metres(NamedTuple):
    """The metres that are kept, as numbers.

    `signatures` has their numerators and denominators, `sixteenths` the lengths of their bars.
    `short[metre, sixteenths]` is the metre of a bar that breaks off, -1 where there is none.
    `common` is the place of 4/4, -1 without it.
    """

    signatures: Cells
    sixteenths: Cells
    short: Cells
    common: int


class Layout(NamedTuple):
    """The music that is kept: its `regions`, which are laid end to end, and its bars.

    `metres` has the place of each bar's metre, `starts` the sixteenths before each bar, and `cuts`
    the bars at which windows begin anew. `counts`: regions, bars (0: all are in 4/4), cuts. One
    more cell of `starts` has the end of the last bar.
    """

    regions: Cells
    metres: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int32]
    cuts: Cells
    counts: Cells


REGIONS, BARS, CUTS = range(3)


def new_metres(kept: Sequence[TimeSignature]) -> Metres:
    """Return metres as the kernels take them."""
    longest = max(metre.sixteenths for metre in kept)
    short = np.full((len(kept), longest + 1), _NONE, np.int64)
    for place, metre in enumerate(kept):
        for rest in range(1, metre.sixteenths):
            found = cut_short(rest, metre.denominator, kept)
            short[place, rest] = _NONE if found is None else kept.index(found)
    return Metres(
        np.array(kept, np.int64),
        np.array([metre.sixteenths for metre in kept], np.int64),
        short,
        kept.index(COMMON_TIME) if COMMON_TIME in kept else _NONE,
    )


def new_layout() -> Layout:
    """Return a layout with room for the largest number of bars."""
    return Layout(
        regions=np.zeros((_REGION_ROWS, MOST_METRES + 2), np.int64),
        metres=np.empty(MOST_BARS + 2, np.int32),
        starts=np.empty(MOST_BARS + 3, np.int32),
        cuts=np.zeros(2 * MOST_METRES + 4, np.int64),
        counts=np.zeros(3, np.int64),
    )


@kernel
def metre_at(signatures: Cells, numerator: int, denominator: int) -> int:
    """Return the place of a metre, -1 for another metre."""
    for place in range(len(signatures)):
        if signatures[place, 0] == numerator and signatures[place, 1] == denominator:
            return place
    return _NONE


@kernel
def lay_out_common_time(layout: Layout) -> None:
    """Have all bars in 4/4."""
    layout.counts[REGIONS] = layout.counts[BARS] = 0
    layout.counts[CUTS] = 1
    layout.cuts[0] = layout.starts[0] = 0


@kernel
def find_regions(
    end: int,
    signatures: Columns,
    count: int,
    resolution: int,
    shortest_bars: int,
    metres: Metres,
    layout: Layout,
) -> bool:
    """Find the regions in metres that are kept, up to the last note; False if they are too many.

    Of music that has other metres, too, stretches of fewer than `shortest_bars` are left out.
    """
    counts = layout.counts
    counts[:] = 0
    layout.starts[0] = 0
    first, metre = 0, metres.common
    numerator, denominator = 4, 4
    region = bar = cut = 0  # those of the stretch begin here
    for i in range(count + 1):
        # One round more than there are signatures: the last metre ends with the music.
        last, following = _ENDLESS, _NONE
        if i < count:
            if signatures[1, i] == numerator and signatures[2, i] == denominator:
                continue
            numerator, denominator = wide(signatures[1, i]), wide(signatures[2, i])
            last = wide(signatures[0, i])
            following = metre_at(metres.signatures, numerator, denominator)
        if metre != _NONE:
            ticks = (last if i < count else end) - first
            if not _add_region(first, last, ticks, metre, following, resolution, metres, layout):
                return False
        if following == _NONE:
            if counts[BARS] - bar < shortest_bars or counts[BARS] == bar:
                counts[REGIONS], counts[BARS], counts[CUTS] = region, bar, cut
            else:
                _close_stretch(last, region, bar, cut, layout)
            region, bar, cut = counts[REGIONS], counts[BARS], counts[CUTS]
        first, metre = last, following
    # A cut after the last bar begins no window.
    while counts[CUTS] > 0 and layout.cuts[counts[CUTS] - 1] >= counts[BARS]:
        counts[CUTS] -= 1
    bars = counts[BARS]
    if bars > 0:  # a note just before the end may be nearest to what follows
        layout.metres[bars] = layout.metres[bars - 1]
        layout.starts[bars + 1] = layout.starts[bars] + metres.sixteenths[layout.metres[bars]]
    return True


@kernel
def _close_stretch(last: int, region: int, bar: int, cut: int, layout: Layout) -> None:
    """Note where a stretch ends, and the cut at its beginning, which comes first."""
    layout.regions[STOP, region : layout.counts[REGIONS]] = last
    if cut > 0 and layout.cuts[cut - 1] == bar:
        return
    for place in range(layout.counts[CUTS], cut, -1):
        layout.cuts[place] = layout.cuts[place - 1]
    layout.cuts[cut] = bar
    layout.counts[CUTS] += 1


@kernel
def _add_region(
    first: int,
    last: int,
    ticks: int,
    metre: int,
    following: int,
    resolution: int,
    metres: Metres,
    layout: Layout,
) -> bool:
    """Lay out the bars of a region; False where there are too many."""
    counts, starts = layout.counts, layout.starts
    length, short, breaks = metres.sixteenths[metre], _NONE, False
    if following == _NONE:  # the last bar is taken whole
        bars = (SIXTEENTHS * ticks + length * resolution - 1) // (length * resolution)
    else:
        sixteenths = (2 * SIXTEENTHS * ticks + resolution) // (2 * resolution)
        bars = sixteenths // length
        rest = sixteenths - bars * length
        short = metres.short[metre, rest] if rest > 0 else _NONE
        breaks = rest > 0 and short == _NONE
        bars += rest > 0
    bars = max(0, bars)
    if counts[BARS] + bars > MOST_BARS or counts[REGIONS] >= layout.regions.shape[1]:
        return False
    region, origin = counts[REGIONS], wide(starts[counts[BARS]])
    for place in range(bars):
        bar = counts[BARS] + place
        layout.metres[bar] = short if short != _NONE and place == bars - 1 else metre
        starts[bar + 1] = starts[bar] + metres.sixteenths[layout.metres[bar]]
    counts[BARS] += bars
    counts[REGIONS] += 1
    layout.regions[FIRST, region], layout.regions[LAST, region] = first, last
    layout.regions[ORIGIN, region] = nearest_tick(origin, resolution)
    layout.regions[LIMIT, region] = nearest_tick(wide(starts[counts[BARS]]), resolution)
    if breaks and counts[CUTS] < len(layout.cuts):
        layout.cuts[counts[CUTS]] = counts[BARS]
        counts[CUTS] += 1
    return True


@kernel
def nearest_tick(sixteenths: int, resolution: int) -> int:
    """Return the nearest tick: bars of eighths may begin between two of a coarse clock."""
    return (2 * sixteenths * resolution + SIXTEENTHS) // (2 * SIXTEENTHS)


@kernel
def last_end(notes: Columns, count: int) -> int:
    """Return the tick at which the last note ends."""
    end = 0
    for i in range(count):
        end = max(end, wide(notes[END, i]))
    return end


@kernel
def keep_regions(
    notes: Columns, count: int, tracks: Columns, track_count: int, resolution: int, layout: Layout
) -> tuple[int, int]:
    """Lay regions end to end; return the numbers of notes and tracks in them."""
    tracks[COUNT, :track_count] = 0
    regions, region_count = layout.regions, layout.counts[REGIONS]
    kept = 0
    for i in range(count):
        onset, end = wide(notes[ONSET, i]), wide(notes[END, i])
        place = _NONE
        for region in range(region_count):
            if regions[FIRST, region] <= onset < regions[LAST, region]:
                place = region
        # A note a thirty-second before the stretch ends belongs to the beat that is left out.
        if place == _NONE or 8 * (regions[STOP, place] - onset) <= resolution:
            continue
        end = min(end, regions[STOP, place])
        # A note may be held over a change of metre: its end is laid out where it falls.
        ends_in = place
        for region in range(place + 1, region_count):
            if regions[FIRST, region] < end:
                ends_in = region
        owner = notes[TRACK, i]
        notes[TRACK, kept], notes[PITCH, kept] = owner, notes[PITCH, i]
        notes[ONSET, kept] = _laid(onset, place, regions)
        notes[END, kept] = _laid(end, ends_in, regions)
        notes[VELOCITY, kept] = notes[VELOCITY, i]
        tracks[COUNT, owner] += 1
        kept += 1
    return kept, _without_silent(notes, kept, tracks, track_count)


@kernel
def _laid(tick: int, region: int, regions: Cells) -> int:
    moved = tick - regions[FIRST, region] + regions[ORIGIN, region]
    laid: int = min(moved, regions[LIMIT, region])
    return laid


@kernel
def _without_silent(notes: Columns, count: int, tracks: Columns, track_count: int) -> int:
    """Give new numbers to the tracks that have notes; return how many there are."""
    sounding = 0
    for track in range(track_count):
        if tracks[COUNT, track] > 0:
            if sounding < track:
                for row in range(TRACK_ROWS):
                    tracks[row, sounding] = tracks[row, track]
                for i in range(count):
                    if notes[TRACK, i] == track:
                        notes[TRACK, i] = sounding
            sounding += 1
    return sounding
