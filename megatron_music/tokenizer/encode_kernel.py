"""Columns of notes to the tokens of all their windows, compiled.

The readable path says what the tokens are: `merge`, `quantize` and `windows` of `score.quantize`,
`score.hashing.track_order`, `codec.encode` and `codec.transpose`, one after another.
This module gives the same tokens without sorting anything. A bar of a track is a few words of
bits: at which moments something happens, and at each of them which pitches end and which begin.
Setting bits puts notes in order; reading them off writes the tokens.
"""

import numpy as np
import numpy.typing as npt

from megatron_music.score.bar_layout_kernel import BARS, CUTS
from megatron_music.score.grid_kernel import (
    NOT_SURE,
    Grid,
    lay_out,
    music_hash,
    scramble_word,
    sound,
    to_moments,
    to_moments_of_bars,
)
from megatron_music.score.instruments import DRUMS, INSTRUMENT_COUNT
from megatron_music.score.jit import kernel, lowest_bit, wide
from megatron_music.score.metre import SIXTEENTHS
from megatron_music.score.midi_columns import Columns
from megatron_music.score.notes import DEFAULT_VELOCITY, QUARTERS_PER_BAR, UNTOLD
from megatron_music.score.tempo_kernel import find_tempos
from megatron_music.tokenizer.document_columns import DocumentColumns
from megatron_music.tokenizer.encode_setup import (
    PITCH_BITS,
    WORD_BITS,
    Scratch,
    Setup,
)
from megatron_music.tokenizer.vocabulary import VELOCITIES, Ids, TokenArray

NO_ROOM = -2
"""What the kernels answer where the output is full: try again with more room."""

Counts = npt.NDArray[np.int64]

_OFF_LOW, _OFF_HIGH, _ON_LOW, _ON_HIGH, _MASKS = 0, 1, 2, 3, 4
_TOKENS, _DOCUMENTS, _TRACKS = 0, 1, 2
_NO_LEVEL = -1
_FRAME = 7  # tokens of a track, or of a document, without its bars and notes


@kernel
def encode_notes(
    notes: Columns,
    count: int,
    tracks: Columns,
    track_count: int,
    resolution: int,
    setup: Setup,
    output: DocumentColumns,
) -> tuple[int, int, np.uint64, np.uint64]:
    """Encode all windows of the music in `notes` and `tracks` (see `midi_kernel`).

    Its bars are in the setup's layout. Returns how many bars and windows there are and the
    fingerprint's halves. Instead of bars: NOT_SURE where the music is not `sound`, NO_ROOM where
    the output is full; the output is then as it was.
    """
    nothing, plan, grid, layout = np.uint64(0), setup.plan, setup.grid, setup.layout
    usual = plan.hop > 0 and plan.bars > 0 and plan.steps_per_quarter <= 12
    if not usual or not sound(notes, count, tracks, track_count, resolution):
        return NOT_SURE, 0, nothing, nothing
    laid = layout.counts[BARS]
    first, second = music_hash(notes, count, tracks, resolution, layout.starts, laid, grid)
    total = lay_out(
        notes, count, tracks, track_count, resolution, plan.steps_per_quarter, plan.merge, grid
    )
    if total < 0:
        return NOT_SURE, 0, nothing, nothing
    if laid == 0:
        steps_per_bar = QUARTERS_PER_BAR * plan.steps_per_quarter
        bars = to_moments(grid, total, steps_per_bar, setup.bar_bits)
    else:
        sixteenth = plan.steps_per_quarter // SIXTEENTHS
        bars = to_moments_of_bars(grid, total, layout.starts, laid, sixteenth, setup.bar_bits)
    if setup.has_tempos:
        find_tempos(bars, resolution, layout, setup.tempos)
    used = setup.used
    tokens, documents, written = used[_TOKENS], used[_DOCUMENTS], used[_TRACKS]
    windows = _encode_windows(total, bars, first, setup, output)
    if windows < 0:
        used[_TOKENS], used[_DOCUMENTS], used[_TRACKS] = tokens, documents, written
        return NO_ROOM, 0, nothing, nothing
    return bars, windows, first, second


@kernel
def _encode_windows(
    total: int, bars: int, music: np.uint64, setup: Setup, output: DocumentColumns
) -> int:
    """Encode the windows of a piece on the grid; return how many, or NO_ROOM."""
    plan, grid, room, bar_bits = setup.plan, setup.grid, setup.room, setup.bar_bits
    cuts, cut_count = setup.layout.cuts, setup.layout.counts[CUTS]
    low, shifts = (plan.lowest_shift, plan.shifts) if music <= plan.last_training else (0, 1)
    state = scramble_word(scramble_word(plan.seed) ^ music)
    room.lows[:total] = grid.starts[:total]
    windows = 0
    for stretch in range(cut_count):
        start = cuts[stretch]
        end = min(bars, cuts[stretch + 1]) if stretch + 1 < cut_count else bars
        while start < end:
            stop = min(start + plan.bars, end)
            sounding = _find(total, start << bar_bits, stop << bar_bits, grid, room)
            if sounding > 0:
                if plan.shuffle:
                    _shuffle(sounding, scramble_word(state + np.uint64(windows)), room)
                sounding = min(sounding, plan.most_tracks)
                if not _has_room(sounding, stop - start, shifts, room, setup.used, output):
                    return NO_ROOM
                _encode_window(sounding, start, stop, low, shifts, setup, output)
                windows += 1
            start = start + plan.hop if stop < end else end
    return windows


@kernel
def _find(total: int, first: int, last: int, grid: Grid, room: Scratch) -> int:
    """Find the tracks that sound in a window and their notes; return how many."""
    onsets, stops, lows, highs, order = grid.onset, grid.stops, room.lows, room.highs, room.order
    sounding = 0
    for track in range(total):
        # From where the last window began: windows only move forwards, and may overlap.
        low, stop = lows[track], stops[track]
        while low < stop and onsets[low] < first:
            low += 1
        high = low
        while high < stop and onsets[high] < last:
            high += 1
        lows[track], highs[track] = low, high
        if high > low:
            order[sounding] = track
            sounding += 1
    return sounding


@kernel
def _shuffle(count: int, state: np.uint64, room: Scratch) -> None:
    """Put tracks in the order of `hashing.track_order`."""
    order, keys = room.order, room.keys
    for i in range(count):
        track = order[i]
        key = scramble_word(state + np.uint64(i))
        place = i
        # By insertion: there are few tracks, and equal keys keep their order as in a stable sort.
        while place > 0 and keys[place - 1] > key:
            keys[place], order[place] = keys[place - 1], order[place - 1]
            place -= 1
        keys[place], order[place] = key, track


@kernel
def _has_room(
    sounding: int, bars: int, shifts: int, room: Scratch, used: Counts, output: DocumentColumns
) -> bool:
    """Tell whether a window's documents fit, even if its notes take as many tokens as they can."""
    # Not the whole setup: a call counts references to each of its arrays.
    tokens = _FRAME
    for i in range(sounding):
        track = room.order[i]
        tokens += _FRAME + 4 * bars + 5 * (room.highs[track] - room.lows[track])
    documents = min(len(output.lengths), len(output.tracks), len(output.first_bars))
    return bool(
        used[_TOKENS] + tokens * shifts <= len(output.tokens)
        and used[_DOCUMENTS] + shifts <= documents
        and used[_TRACKS] + sounding * shifts <= len(output.rates)
    )


@kernel
def _encode_window(
    sounding: int,
    start: int,
    stop: int,
    low: int,
    shifts: int,
    setup: Setup,
    output: DocumentColumns,
) -> None:
    """Write the documents of a window: one for each shift that leaves its pitches in range."""
    ids, edges, grid, room = setup.ids, setup.edges, setup.grid, setup.room
    tokens, used, bars = output.tokens, setup.used, stop - start
    sixteenths = setup.metres.sixteenths[_bar_metre(stop - 1, setup)]
    last_steps = sixteenths * (setup.plan.steps_per_quarter // SIXTEENTHS)
    # The barline that ends the window: what is held over it ends there.
    latest = (bars - 1) << setup.bar_bits | last_steps
    first = used[_TOKENS]
    at = _write_head(start, setup, tokens, first)
    for i in range(sounding):
        track = room.order[i]
        rate = (room.highs[track] - room.lows[track]) / bars
        output.rates[used[_TRACKS] + i] = rate
        tokens[at], tokens[at + 1] = ids.track_start, ids.inst + grid.codes[track]
        at += 2
        if setup.has_density:
            tokens[at] = ids.density
            # The level is the number of edges at or below the rate.
            for edge in edges:
                tokens[at] += edge <= rate
            at += 1
        _set_bits(track, start << setup.bar_bits, latest, setup.velocities, grid, room)
        at = _read_bits(start, bars, setup, tokens, at)
        tokens[at] = ids.track_end
        at += 1
    tokens[at] = ids.piece_end
    size = at + 1 - first
    if shifts > 1:
        low, shifts = _possible(sounding, low, shifts, grid, room)
    # From the last: all keys are copied from where the first one is written.
    for key in range(shifts - 1, -1, -1):
        if key > 0 or low != 0:
            _write_key(tokens, first, first + key * size, size, low + key, ids)
        document = used[_DOCUMENTS] + key
        output.lengths[document], output.tracks[document] = size, sounding
        output.first_bars[document] = start
        copy = used[_TRACKS] + key * sounding
        for i in range(sounding):
            output.rates[copy + i] = output.rates[used[_TRACKS] + i]
    used[_TOKENS] += shifts * size
    used[_DOCUMENTS] += shifts
    used[_TRACKS] += shifts * sounding


@kernel
def _write_head(start: int, setup: Setup, tokens: TokenArray, at: int) -> int:
    """Write what a window begins with, before its tracks; return the place after it."""
    tokens[at] = setup.ids.piece_start
    at += 1
    if setup.has_metres:
        tokens[at] = setup.ids.metre + _bar_metre(start, setup)
        at += 1
    if setup.has_tempos:
        tokens[at] = setup.ids.tempo + setup.tempos.bars[start]
        at += 1
    return at


@kernel
def _bar_metre(bar: int, setup: Setup) -> int:
    """Return the place of a bar's metre."""
    laid = setup.layout.counts[BARS] > 0
    return wide(setup.layout.metres[bar]) if laid else setup.metres.common


@kernel
def _set_bits(
    track: int, origin: int, latest: int, velocities: int, grid: Grid, room: Scratch
) -> None:
    """Set a bit for each end and each beginning of a note of a track in a window; note its level.

    The window begins at the moment `origin`; `latest` is the last moment in it, from its beginning.
    There are `velocities` levels of velocity.
    """
    onsets, ends, pitches = grid.onset, grid.end, grid.pitch
    moments, masks = room.moments, room.masks
    for i in range(room.lows[track], room.highs[track]):
        pitch = wide(pitches[i])
        bit, half = np.uint64(1) << np.uint64(pitch & 63), pitch >> 6
        onset = wide(onsets[i]) - origin
        # Of each moment one bit that something happens, and 256 that say what: see `_read_bits`.
        moments[onset >> WORD_BITS] |= np.uint64(1) << np.uint64(onset & 63)
        masks[(onset << 2) + _ON_LOW + half] |= bit
        end = min(wide(ends[i]) - origin, latest)
        moments[end >> WORD_BITS] |= np.uint64(1) << np.uint64(end & 63)
        masks[(end << 2) + half] |= bit
        if velocities > 0:
            loud = wide(grid.loud[i]) if grid.loud[i] != UNTOLD else DEFAULT_VELOCITY
            room.levels[onset << PITCH_BITS | pitch] = loud * velocities // VELOCITIES


@kernel
def _read_bits(start: int, bars: int, setup: Setup, tokens: TokenArray, at: int) -> int:
    """Write the bars that the bits spell and clear these; return the place after them."""
    ids, moments, masks = setup.ids, setup.room.moments, setup.room.masks
    firsts = (ids.note_off, ids.note_off + 64, ids.note_on, ids.note_on + 64)
    words = 1 << setup.bar_bits >> WORD_BITS
    tells_metres = setup.has_metres and setup.layout.counts[BARS] > 0
    levels, has_levels = setup.room.levels, setup.velocities > 0
    for bar in range(bars):
        if tells_metres and bar > 0:
            metre = _bar_metre(start + bar, setup)
            tokens[at] = ids.metre + metre
            # Written always and kept only where it changes: else the next token overwrites it.
            at += metre != _bar_metre(start + bar - 1, setup)
        if setup.has_tempos and bar > 0:
            tempo = setup.tempos.bars[start + bar]
            tokens[at] = ids.tempo + tempo
            at += tempo != setup.tempos.bars[start + bar - 1]
        tokens[at] = ids.bar_start
        at += 1
        now, level = 0, _NO_LEVEL
        for word in range(bar * words, (bar + 1) * words):
            left = moments[word]
            moments[word] = np.uint64(0)
            while left != np.uint64(0):
                moment = word << WORD_BITS | lowest_bit(left)
                # Clears the lowest bit set: the next round finds the next moment, in order, without
                # sorting.
                left &= left - np.uint64(1)
                step = moment - (bar << setup.bar_bits)
                tokens[at] = ids.time_delta + step - now
                at += step > now
                now = step
                place = moment << 2
                for part in range(_MASKS):
                    bits = masks[place + part]
                    masks[place + part] = np.uint64(0)
                    while bits != np.uint64(0):
                        bit = lowest_bit(bits)
                        if has_levels and part >= _ON_LOW:
                            pitch = (part - _ON_LOW) << WORD_BITS | bit
                            loud = wide(levels[moment << PITCH_BITS | pitch])
                            tokens[at] = ids.velocity + loud
                            at += loud != level
                            level = loud
                        tokens[at] = firsts[part] + bit
                        at += 1
                        bits &= bits - np.uint64(1)
        tokens[at] = ids.bar_end
        at += 1
    return at


@kernel
def _possible(sounding: int, low: int, shifts: int, grid: Grid, room: Scratch) -> tuple[int, int]:
    """Return the lowest shift that leaves the pitches of a window in range, and how many do."""
    pitches = grid.pitch
    lowest, highest = 127, 0
    for i in range(sounding):
        track = room.order[i]
        if grid.codes[track] != DRUMS:
            for j in range(room.lows[track], room.highs[track]):
                lowest, highest = min(lowest, pitches[j]), max(highest, pitches[j])
    last = min(low + shifts - 1, 127 - highest)
    low = max(low, -lowest)
    return low, max(0, last - low + 1)


@kernel
def _write_key(
    tokens: TokenArray, source: int, target: int, size: int, semitones: int, ids: Ids
) -> None:
    """Copy the document at `source` to `target`, transposed; drums stay."""
    moving = True
    for i in range(size):
        token = wide(tokens[source + i])
        if ids.inst <= token < ids.inst + INSTRUMENT_COUNT:
            moving = token != ids.inst + DRUMS
        elif moving and ids.note_on <= token < ids.note_off + 128:
            token += semitones
        tokens[target + i] = token
