"""The music in 4/4 of columns of notes that change their metre, compiled.

The same as `stretches.common_time`.
"""

import numpy as np
import numpy.typing as npt

from megatron_music.score.compiled import kernel, wide
from megatron_music.score.midi_columns import (
    COUNT,
    END,
    MOST_METRES,
    ONSET,
    PITCH,
    TRACK,
    TRACK_ROWS,
    Columns,
)
from megatron_music.score.notes import QUARTERS_PER_BAR

Stretches = npt.NDArray[np.int64]

FIRST, LAST, BAR = 0, 1, 2
"""Rows of stretches: the ticks each begins and ends at, and the bar that it is laid at."""

_STRETCH_ROWS = 3
_ENDLESS = 2**40


def new_stretches() -> Stretches:
    """Return room for all the stretches there can be."""
    return np.zeros((_STRETCH_ROWS, MOST_METRES // 2 + 3), np.int64)


@kernel
def _add(
    count: int, first: int, last: int, end: int, bar_ticks: int, shortest: int, found: Stretches
) -> int:
    """Note a stretch down if it is long enough; return how many there are."""
    bars = (end - first + bar_ticks - 1) // bar_ticks
    if bars < shortest or count + 1 >= found.shape[1]:
        return count
    found[FIRST, count], found[LAST, count] = first, last
    found[BAR, count + 1] = found[BAR, count] + bars
    return count + 1


@kernel
def find_stretches(
    notes: Columns,
    count: int,
    metres: Columns,
    metre_count: int,
    bar_ticks: int,
    shortest_bars: int,
    found: Stretches,
) -> int:
    """Find the stretches in 4/4 of `shortest_bars` bars or more; return how many there are."""
    total = first = 0
    common = True
    found[BAR, 0] = 0
    for i in range(metre_count):
        tick = wide(metres[0, i])
        now = metres[1, i] == 4 and metres[2, i] == 4
        if common and not now:
            total = _add(total, first, tick, tick, bar_ticks, shortest_bars, found)
        if now and not common:
            first = tick
        common = now
    if common:
        end = 0
        for i in range(count):
            end = max(end, wide(notes[END, i]))
        total = _add(total, first, _ENDLESS, end, bar_ticks, shortest_bars, found)
    return total


@kernel
def keep_stretches(
    notes: Columns,
    count: int,
    tracks: Columns,
    track_count: int,
    resolution: int,
    stretches: Stretches,
    stretch_count: int,
) -> tuple[int, int]:
    """Lay stretches end to end; return how many notes and tracks are left of those there were."""
    tracks[COUNT, :track_count] = 0
    kept = 0
    for i in range(count):
        onset, end = wide(notes[ONSET, i]), wide(notes[END, i])
        for stretch in range(stretch_count):
            first, last = stretches[FIRST, stretch], stretches[LAST, stretch]
            if onset >= first and 8 * (last - onset) > resolution:
                moved = stretches[BAR, stretch] * QUARTERS_PER_BAR * resolution - first
                owner = notes[TRACK, i]
                notes[TRACK, kept], notes[PITCH, kept] = owner, notes[PITCH, i]
                notes[ONSET, kept], notes[END, kept] = onset + moved, min(end, last) + moved
                tracks[COUNT, owner] += 1
                kept += 1
                break
    return kept, _without_silent(notes, kept, tracks, track_count)


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
