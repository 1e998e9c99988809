"""Bring columns of notes onto the grid, and hash their music, compiled.

The same as `quantize.quantize` (after `quantize.merge`, where asked) and `hashing.fingerprint`.
Notes come from files in order of time, so a pass that remembers the latest note of each pitch
makes a track canonical; only where tracks have been merged is there something to sort, and as
onsets are steps of a grid, counting does it.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.score.hashing import (
    DRUM_OFFSET,
    FIRST_FACTOR,
    PITCH_ROOM,
    SECOND_FACTOR,
    SECOND_LANE,
    STRIDE,
)
from megatron_music.score.instruments import DRUMS, INSTRUMENT_COUNT
from megatron_music.score.jit import kernel, wide
from megatron_music.score.midi_columns import (
    CODE,
    COUNT,
    END,
    MOST_TRACKS,
    ONSET,
    PITCH,
    TRACK,
    VELOCITY,
    Columns,
)
from megatron_music.score.notes import QUARTERS_PER_BAR

NOT_SURE = -1
"""In place of a number: the music is left to the readable path."""

MOST_BARS = 4_000
MOST_NOTES = 200_000
"""Limits of the kernels."""

BAR_BITS, MOST_BAR_BITS = 6, 7
"""A moment is `bar << bits | step`. A bar of 4/4 has at most 48 steps, the longest bar 96; one more
value is for the barline that ends it."""

COARSE = 4
"""Steps a quarter note of the grid that fingerprints are made on."""

_PITCHES = 128
_FINEST = 12
_MOST_STEPS = MOST_BARS * QUARTERS_PER_BAR * _FINEST
_END_BITS, _PITCH_BITS = 20, 7
_END_MASK = (1 << _END_BITS) - 1


class Grid(NamedTuple):
    """Notes on the grid, track by track, and the memory for bringing them there.

    The notes of track t are in `onset`, `end`, `pitch` (int32) from `starts[t]` to `stops[t]`, with
    `has_velocities` their velocities in `loud`; `codes[t]` is its instrument. The rest is scratch
    memory.
    """

    onset: npt.NDArray[np.int32]
    end: npt.NDArray[np.int32]
    pitch: npt.NDArray[np.int32]
    loud: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int32]
    stops: npt.NDArray[np.int32]
    codes: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int32]
    latest: npt.NDArray[np.int32]
    steps: npt.NDArray[np.int32]
    packed: npt.NDArray[np.int64]
    sounded: npt.NDArray[np.uint64]
    has_velocities: bool


def new_grid(*, has_velocities: bool = False) -> Grid:
    """Return a grid with room for the largest music that the kernels take."""
    coarse = MOST_BARS * QUARTERS_PER_BAR * COARSE + 2
    return Grid(
        onset=np.empty(MOST_NOTES, np.int32),
        end=np.empty(MOST_NOTES, np.int32),
        pitch=np.empty(MOST_NOTES, np.int32),
        loud=np.zeros(MOST_NOTES, np.int32),
        starts=np.empty(MOST_TRACKS + 1, np.int32),
        stops=np.empty(MOST_TRACKS, np.int32),
        codes=np.empty(MOST_TRACKS, np.int32),
        targets=np.empty(MOST_TRACKS, np.int32),
        latest=np.empty(_PITCHES, np.int32),
        steps=np.empty(_MOST_STEPS + 2, np.int32),
        packed=np.empty(MOST_NOTES, np.int64),
        sounded=np.empty(4 * coarse, np.uint64),
        has_velocities=has_velocities,
    )


@kernel
def scramble_word(word: np.uint64) -> np.uint64:
    """Return `hashing.scramble` of one unsigned 64-bit word."""
    mixed = word + np.uint64(STRIDE)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(FIRST_FACTOR)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(SECOND_FACTOR)
    return mixed ^ (mixed >> np.uint64(31))


@kernel
def _nearest_step(ticks: int, double_steps: int, resolution: int, inverse: float) -> int:
    """Return the step nearest to `ticks`, halves up: a quotient of integers, by way of floats."""
    # A multiplication is faster than a division; one step too many or too few, which its rounding
    # may give, is put right by the rest.
    number = ticks * double_steps + resolution
    quotient = wide(number * inverse)
    rest = number - quotient * 2 * resolution
    return quotient + (rest >= 2 * resolution) - (rest < 0)


@kernel
def sound(notes: Columns, count: int, tracks: Columns, track_count: int, resolution: int) -> bool:
    """Tell whether the kernels take these columns; checks all values that become indices."""
    if not (0 < count <= MOST_NOTES and count <= notes.shape[1] and notes.shape[0] > VELOCITY):
        return False
    if not (0 < track_count <= min(MOST_TRACKS, tracks.shape[1]) and 0 < resolution < 0x8000):
        return False
    total = 0
    for track in range(track_count):
        total += max(0, tracks[COUNT, track])
        if tracks[COUNT, track] <= 0 or not 0 <= tracks[CODE, track] < INSTRUMENT_COUNT:
            return False
    faults = last = 0
    for i in range(count):
        owner, onset, end, pitch = notes[TRACK, i], notes[ONSET, i], notes[END, i], notes[PITCH, i]
        # Any of these is negative where something is out of range.
        faults |= owner | (track_count - 1 - owner) | onset | (end - onset)
        faults |= pitch | (_PITCHES - 1 - pitch)
        last = max(last, wide(end))
    return total == count and faults >= 0 and last < MOST_BARS * QUARTERS_PER_BAR * resolution


@kernel
def lay_out(
    notes: Columns,
    count: int,
    tracks: Columns,
    track_count: int,
    resolution: int,
    steps_per_quarter: int,
    merge: bool,
    grid: Grid,
) -> int:
    """Bring notes that are `sound` onto the grid, in steps, canonical; return how many tracks."""
    onsets, ends, pitches, packed = grid.onset, grid.end, grid.pitch, grid.packed
    loud = grid.loud
    starts, stops, targets = grid.starts, grid.stops, grid.targets
    total = _assign(tracks, track_count, merge, grid)
    double_steps, inverse = 2 * steps_per_quarter, 1.0 / (2.0 * resolution)
    for i in range(count):
        onset = _nearest_step(wide(notes[ONSET, i]), double_steps, resolution, inverse)
        end = _nearest_step(wide(notes[END, i]), double_steps, resolution, inverse)
        # In one word: the loop that sorts notes by track has one array to read.
        packed[i] = (onset << _END_BITS | max(end, onset + 1)) << _PITCH_BITS | notes[PITCH, i]
    owner, target, place = -1, 0, 0
    for i in range(count):
        if notes[TRACK, i] != owner:  # notes of one track mostly follow each other
            # The place of a track is kept in `stops` while notes of others come.
            stops[target] = place if owner >= 0 else stops[target]
            owner = wide(notes[TRACK, i])
            target = wide(targets[owner])
            place = wide(stops[target])
        if place >= starts[target + 1]:
            return NOT_SURE
        onsets[place] = packed[i] >> (_END_BITS + _PITCH_BITS)
        ends[place] = (packed[i] >> _PITCH_BITS) & _END_MASK
        pitches[place] = packed[i] & (_PITCHES - 1)
        if grid.has_velocities:
            loud[place] = notes[VELOCITY, i]
        place += 1
    stops[target] = place
    for target in range(total):
        first, last = starts[target], stops[target]
        ordered = True
        for i in range(first + 1, last):
            ordered &= onsets[i - 1] <= onsets[i]
        if not ordered:
            _sort(onsets, ends, pitches, loud, first, last, packed, grid.steps)
        stops[target] = _settle(
            onsets, ends, pitches, loud, first, last, grid.latest, grid.has_velocities
        )
    return total


@kernel
def _assign(tracks: Columns, track_count: int, merge: bool, grid: Grid) -> int:
    """Give each track its place on the grid; return how many there are there."""
    codes, targets, starts, stops = grid.codes, grid.targets, grid.starts, grid.stops
    total = 0
    starts[: track_count + 1] = 0
    for track in range(track_count):
        target = total
        if merge:
            for other in range(total):
                if codes[other] == tracks[CODE, track]:
                    target = other
        if target == total:
            codes[target] = tracks[CODE, track]
            total += 1
        targets[track] = target
        starts[target + 1] += tracks[COUNT, track]
    for target in range(total):
        starts[target + 1] += starts[target]
        stops[target] = starts[target]
    return total


@kernel
def _sort(
    onsets: npt.NDArray[np.int32],
    ends: npt.NDArray[np.int32],
    pitches: npt.NDArray[np.int32],
    loud: npt.NDArray[np.int32],
    first: int,
    last: int,
    packed: npt.NDArray[np.int64],
    steps: npt.NDArray[np.int32],
) -> None:
    """Put the notes of a track in the order of their onsets, by counting those of each step."""
    latest = 0
    for i in range(first, last):
        latest = max(latest, wide(onsets[i]))
    # Counting, not comparing: onsets are steps of a grid, and the order of equal ones stays.
    steps[: latest + 2] = 0
    for i in range(first, last):
        steps[onsets[i] + 1] += 1
    for step in range(latest + 1):
        steps[step + 1] += steps[step]
    for i in range(first, last):
        onset = wide(onsets[i])
        key = (wide(loud[i]) << _END_BITS | onset) << _END_BITS | ends[i]
        packed[first + steps[onset]] = key << _PITCH_BITS | pitches[i]
        steps[onset] += 1
    for i in range(first, last):
        loud[i] = packed[i] >> (2 * _END_BITS + _PITCH_BITS)
        onsets[i] = (packed[i] >> (_END_BITS + _PITCH_BITS)) & _END_MASK
        ends[i] = (packed[i] >> _PITCH_BITS) & _END_MASK
        pitches[i] = packed[i] & (_PITCHES - 1)


@kernel
def _settle(
    onsets: npt.NDArray[np.int32],
    ends: npt.NDArray[np.int32],
    pitches: npt.NDArray[np.int32],
    loud: npt.NDArray[np.int32],
    first: int,
    last: int,
    latest: npt.NDArray[np.int32],
    has_velocities: bool,
) -> int:
    """Cut notes of a track where its next note of that pitch begins; return its new end.

    Of notes at one step the longest and the loudest counts.
    """
    latest[:] = -1
    kept = first
    for i in range(first, last):
        pitch, onset = pitches[i], onsets[i]
        before = latest[pitch]
        if before >= 0:
            if onsets[before] == onset:
                ends[before] = max(ends[before], ends[i])
                if has_velocities:
                    loud[before] = max(loud[before], loud[i])
                continue
            ends[before] = min(ends[before], onset)
        onsets[kept], ends[kept], pitches[kept] = onset, ends[i], pitch
        # The test costs 0.8 ns a note, moving the column always 2.0 (of 5.4 without either).
        if has_velocities:
            loud[kept] = loud[i]
        latest[pitch] = kept
        kept += 1
    return wide(kept)


@kernel
def to_moments(grid: Grid, track_count: int, steps_per_bar: int, bar_bits: int) -> int:
    """Turn the steps of a grid into moments (see BAR_BITS); return how many bars there are.

    The end of a note on a barline is a moment of the bar that it ends.
    """
    onsets, ends = grid.onset, grid.end
    factor = (1 << 32) // steps_per_bar + 1  # exact for all steps there are
    last = 0
    for track in range(track_count):
        for i in range(grid.starts[track], grid.stops[track]):
            onset, end = wide(onsets[i]), wide(ends[i]) - 1
            bar = onset * factor >> 32
            onsets[i] = bar << bar_bits | (onset - bar * steps_per_bar)
            bar = end * factor >> 32
            ends[i] = bar << bar_bits | (end - bar * steps_per_bar + 1)
            last = max(last, bar)
    return last + 1


@kernel
def to_moments_of_bars(
    grid: Grid,
    track_count: int,
    bar_starts: npt.NDArray[np.int32],
    bars: int,
    steps_per_sixteenth: int,
    bar_bits: int,
) -> int:
    """Do the same as `to_moments`, for bars that begin at these sixteenths."""
    onsets, ends = grid.onset, grid.end
    last = 0
    for track in range(track_count):
        bar = 0
        for i in range(grid.starts[track], grid.stops[track]):
            onset, end = wide(onsets[i]), wide(ends[i])
            while bar < bars and bar_starts[bar + 1] * steps_per_sixteenth <= onset:
                bar += 1
            closed = bar
            while closed < bars and bar_starts[closed + 1] * steps_per_sixteenth < end:
                closed += 1
            onsets[i] = bar << bar_bits | (onset - bar_starts[bar] * steps_per_sixteenth)
            ends[i] = closed << bar_bits | (end - bar_starts[closed] * steps_per_sixteenth)
            last = max(last, closed)
    return last + 1


@kernel
def music_hash(
    notes: Columns,
    count: int,
    tracks: Columns,
    resolution: int,
    bar_starts: npt.NDArray[np.int32],
    bars: int,
    grid: Grid,
) -> tuple[np.uint64, np.uint64]:
    """Return both halves of the fingerprint of notes that are `sound`, as unsigned words.

    Bars begin at these sixteenths; without any they are in 4/4.
    """
    onsets, sounded = grid.packed, grid.sounded
    inverse = 1.0 / (2.0 * resolution)
    # Counted from the first bar and the lowest pitch: moved or transposed music has one hash.
    earliest, latest, lowest = 2**40, 0, _PITCHES
    for i in range(count):
        onset = _nearest_step(wide(notes[ONSET, i]), 2 * COARSE, resolution, inverse)
        onsets[i] = onset
        earliest, latest = min(earliest, onset), max(latest, onset)
        if tracks[CODE, notes[TRACK, i]] != DRUMS:
            lowest = min(lowest, wide(notes[PITCH, i]))
    bar = QUARTERS_PER_BAR * COARSE
    origin = earliest // bar * bar
    if bars > 0:
        bar = 0
        while bar < bars and bar_starts[bar + 1] <= earliest:
            bar += 1
        origin = wide(bar_starts[bar])
    sounded[: 4 * (latest - origin + 1)] = 0
    first = second = np.uint64(0)
    for i in range(count):
        onset, pitch = onsets[i] - origin, wide(notes[PITCH, i])
        drums = tracks[CODE, notes[TRACK, i]] == DRUMS
        word = 4 * onset + 2 * drums + (pitch >> 6)
        bit = np.uint64(1) << np.uint64(pitch & 63)
        # Each pitch counts once a step, however many tracks double it.
        if sounded[word] & bit == np.uint64(0):
            sounded[word] |= bit
            place = np.uint64(
                onset * PITCH_ROOM + (pitch + DRUM_OFFSET if drums else pitch - lowest)
            )
            first += scramble_word(place)
            second += scramble_word(place ^ np.uint64(SECOND_LANE))
    return first, second
