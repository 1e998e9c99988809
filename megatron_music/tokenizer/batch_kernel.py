"""Whole files to documents, compiled: reading, stretches in 4/4 and encoding, one after another.

Of each piece a row of numbers tells what became of it; `tokenizer.batch` gives them names.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.score.compiled import kernel, wide
from megatron_music.score.grid_kernel import MOST_BARS, NOT_SURE, Grid
from megatron_music.score.instruments import VOICES
from megatron_music.score.midi_columns import CODE, Buffers, Bytes, Columns
from megatron_music.score.midi_kernel import scan
from megatron_music.score.notes import QUARTERS_PER_BAR
from megatron_music.score.stretch_kernel import BAR, Stretches, find_stretches, keep_stretches
from megatron_music.tokenizer.encode_kernel import NO_ROOM, Output, Setup, encode_notes

Figures = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

BARS, WINDOWS, DOCUMENTS, TOKENS, TRACKS, METRES, STRETCHES = range(7)
"""Columns of `Reports.pieces`."""


class Reading(NamedTuple):
    """What files are read into, and their stretches in 4/4."""

    midi: Buffers
    stretches: Stretches


class Sizes(NamedTuple):
    """How much of a `Reading` is in use, and the ticks of a quarter note."""

    notes: int
    tracks: int
    resolution: int
    stretches: int


class Reports(NamedTuple):
    """What is known of each file: a row of each; `metres` has two rows for each file."""

    pieces: Figures
    prints: Words
    codes: npt.NDArray[np.int32]
    metres: npt.NDArray[np.int32]


@kernel
def encode_files(
    data: Bytes,
    edges_of_files: Figures,
    first: int,
    reading: Reading,
    setup: Setup,
    output: Output,
    reports: Reports,
) -> int:
    """Read and encode files from the `first` on; return how many are done: all, if it had room.

    File i stands in `data` from `edges_of_files[i]` to `edges_of_files[i + 1]`. Of music that
    changes its metre, the stretches in 4/4 are encoded.
    """
    longest = MOST_BARS * QUARTERS_PER_BAR
    for file in range(first, len(edges_of_files) - 1):
        start, end = edges_of_files[file], edges_of_files[file + 1]
        count, tracks, metres, resolution, _ = scan(data, start, end, longest, reading.midi)
        others = (
            other_metres(reading.midi.metres, metres, reports.metres, 2 * file) if count > 0 else 0
        )
        if setup.plan.voices and not name_voices(reading.midi.tracks, tracks):
            count = NOT_SURE
        sizes = Sizes(count, tracks, resolution, 1)
        if others > 0 and count > 0:
            sizes = keep_common_time(sizes, metres, setup.plan.bars, reading)
        if not encode_piece(file, sizes, reading, setup, output, reports):
            return file
        row = reports.pieces[file]
        if others > 0 and (row[BARS] > 0 or sizes.notes == 0):
            row[METRES], row[STRETCHES] = others, sizes.stretches
    return len(edges_of_files) - 1


@kernel
def other_metres(metres: Columns, count: int, others: npt.NDArray[np.int32], row: int) -> int:
    """Write the metres that are not 4/4 into two rows; return how many there are."""
    found = 0
    for i in range(count):
        if metres[1, i] != 4 or metres[2, i] != 4:
            others[row, found], others[row + 1, found] = metres[1, i], metres[2, i]
            found += 1
    return found


@kernel
def name_voices(tracks: Columns, track_count: int) -> bool:
    """Do to columns what `voices.as_chorale` does to a score; False where there are not four."""
    if track_count != len(VOICES):
        return False
    for track in range(track_count):
        tracks[CODE, track] = VOICES[0] + track
    return True


@kernel
def keep_common_time(sizes: Sizes, metres: int, shortest_bars: int, reading: Reading) -> Sizes:
    """Leave the stretches in 4/4 of what was read; return the sizes of what is left."""
    notes, found, resolution = reading.midi.notes, reading.stretches, sizes.resolution
    bar_ticks = QUARTERS_PER_BAR * resolution
    stretches = find_stretches(
        notes, sizes.notes, reading.midi.metres, metres, bar_ticks, shortest_bars, found
    )
    count, tracks = keep_stretches(
        notes, sizes.notes, reading.midi.tracks, sizes.tracks, resolution, found, stretches
    )
    return Sizes(count, tracks, resolution, stretches)


@kernel
def encode_piece(
    piece: int, sizes: Sizes, reading: Reading, setup: Setup, output: Output, reports: Reports
) -> bool:
    """Encode the piece that was read and report on it; False where the output is full."""
    used, row = output.used, reports.pieces[piece]
    tokens, documents = used[0], used[1]
    row[:] = 0
    row[BARS] = NOT_SURE
    if sizes.notes <= 0:
        return True
    bars, windows, first, second = encode_notes(
        reading.midi.notes,
        sizes.notes,
        reading.midi.tracks,
        sizes.tracks,
        sizes.resolution,
        reading.stretches[BAR, : sizes.stretches],
        setup,
        output,
    )
    if bars == NO_ROOM:
        return False
    if bars > 0:
        row[BARS], row[WINDOWS] = bars, windows
        row[TOKENS], row[DOCUMENTS] = used[0] - tokens, used[1] - documents
        reports.prints[piece, 0], reports.prints[piece, 1] = first, second
        row[TRACKS] = _instruments(sizes.tracks, setup.grid, reports.codes[piece])
    return True


@kernel
def _instruments(track_count: int, grid: Grid, codes: npt.NDArray[np.int32]) -> int:
    """Write the codes of the tracks on the grid in ascending order; return how many there are."""
    total = 0
    for track in range(track_count):
        total = max(total, wide(grid.targets[track]) + 1)
    for track in range(total):
        place = track
        while place > 0 and codes[place - 1] > grid.codes[track]:
            codes[place] = codes[place - 1]
            place -= 1
        codes[place] = grid.codes[track]
    return total
