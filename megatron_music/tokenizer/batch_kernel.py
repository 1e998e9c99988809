"""Whole files to documents, compiled: each is read, laid out in bars and encoded.

A row of numbers reports on each piece; `tokenizer.batch_encoder` explains the columns.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.score.bar_layout_kernel import (
    CUTS,
    Metres,
    find_regions,
    keep_regions,
    last_end,
    lay_out_common_time,
    metre_at,
)
from megatron_music.score.grid_kernel import MOST_BARS, NOT_SURE, Grid
from megatron_music.score.instruments import VOICES
from megatron_music.score.jit import kernel, wide
from megatron_music.score.midi_columns import CODE, Buffers, Bytes, Columns
from megatron_music.score.midi_kernel import scan
from megatron_music.score.notes import QUARTERS_PER_BAR
from megatron_music.score.tempo_kernel import read_tempos
from megatron_music.tokenizer.document_columns import DocumentColumns
from megatron_music.tokenizer.encode_kernel import NO_ROOM, encode_notes
from megatron_music.tokenizer.encode_setup import Setup

Figures = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

BARS, WINDOWS, DOCUMENTS, TOKENS, TRACKS, METRES, STRETCHES = range(7)
"""Columns of `Reports.pieces`."""


class Sizes(NamedTuple):
    """How many columns of the buffers are in use, and the ticks of a quarter note."""

    notes: int
    tracks: int
    metres: int
    resolution: int
    controls: int


class Reports(NamedTuple):
    """What is known of each file, one row each; `metres` has two rows for each file."""

    pieces: Figures
    prints: Words
    codes: npt.NDArray[np.int32]
    metres: npt.NDArray[np.int32]


@kernel
def encode_files(
    data: Bytes,
    edges_of_files: Figures,
    first: int,
    midi: Buffers,
    setup: Setup,
    output: DocumentColumns,
    reports: Reports,
) -> int:
    """Read and encode files, beginning with `first`; return how many are done: all, unless full.

    The bytes of file i are in `data` from `edges_of_files[i]` to `edges_of_files[i + 1]`.
    """
    longest = MOST_BARS * QUARTERS_PER_BAR
    for file in range(first, len(edges_of_files) - 1):
        start, end = edges_of_files[file], edges_of_files[file + 1]
        count, tracks, metres, resolution, controls = scan(data, start, end, longest, midi)
        if setup.plan.voices and not name_voices(midi.tracks, tracks):
            count = NOT_SURE
        sizes = Sizes(count, tracks, metres, resolution, controls)
        if not encode_in_bars(file, sizes, midi, setup, output, reports):
            return file
    return len(edges_of_files) - 1


@kernel
def encode_in_bars(
    piece: int,
    sizes: Sizes,
    midi: Buffers,
    setup: Setup,
    output: DocumentColumns,
    reports: Reports,
) -> bool:
    """Encode the piece that was read in the metres that are kept; False if the output is full."""
    metres, layout = setup.metres, setup.layout
    others, plain = 0, True
    lay_out_common_time(layout)
    if setup.has_tempos and not read_tempos(midi.controls, sizes.controls, setup.tempos):
        sizes = Sizes(NOT_SURE, 0, 0, sizes.resolution, 0)
    if sizes.notes > 0:
        others, plain = _other_metres(midi.metres, sizes.metres, metres, reports.metres, 2 * piece)
    if not plain:
        end = last_end(midi.notes, sizes.notes)
        # Only where music is left out anyway: else a short piece would be lost whole.
        shortest = setup.plan.shortest if others > 0 else 1
        found = find_regions(
            end, midi.metres, sizes.metres, sizes.resolution, shortest, metres, layout
        )
        count, tracks = 0, 0
        if found:
            count, tracks = keep_regions(
                midi.notes, sizes.notes, midi.tracks, sizes.tracks, sizes.resolution, layout
            )
        sizes = Sizes(count, tracks, sizes.metres, sizes.resolution, sizes.controls)
        others = others if found else 0
    if not encode_piece(piece, sizes, midi, setup, output, reports):
        return False
    row = reports.pieces[piece]
    if others > 0 and (row[BARS] > 0 or sizes.notes == 0):
        row[METRES], row[STRETCHES] = others, layout.counts[CUTS]
    return True


@kernel
def _other_metres(
    signatures: Columns, count: int, metres: Metres, others: npt.NDArray[np.int32], row: int
) -> tuple[int, bool]:
    """Write the metres that are not kept into two rows; return how many, and if all are 4/4."""
    found, plain = 0, metres.common >= 0
    for i in range(count):
        numerator, denominator = wide(signatures[1, i]), wide(signatures[2, i])
        plain = plain and numerator == 4 and denominator == 4
        if metre_at(metres.signatures, numerator, denominator) < 0:
            others[row, found], others[row + 1, found] = numerator, denominator
            found += 1
    # Until its first time signature a file is in 4/4.
    if metres.common < 0 and (count == 0 or signatures[0, 0] > 0) and found < others.shape[1]:
        others[row, found] = others[row + 1, found] = 4
        found += 1
    return found, plain


@kernel
def name_voices(tracks: Columns, track_count: int) -> bool:
    """Do to columns what `quantize.as_chorale` does to a score; False where there are not four."""
    if track_count != len(VOICES):
        return False
    for track in range(track_count):
        tracks[CODE, track] = VOICES[0] + track
    return True


@kernel
def encode_piece(
    piece: int,
    sizes: Sizes,
    midi: Buffers,
    setup: Setup,
    output: DocumentColumns,
    reports: Reports,
) -> bool:
    """Encode the piece that was read and report on it; False where the output is full."""
    used, row = setup.used, reports.pieces[piece]
    tokens, documents = used[0], used[1]
    row[:] = 0
    row[BARS] = NOT_SURE
    if sizes.notes <= 0:
        return True
    bars, windows, first, second = encode_notes(
        midi.notes, sizes.notes, midi.tracks, sizes.tracks, sizes.resolution, setup, output
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
        # By insertion, into the row of the report: there are few tracks.
        while place > 0 and codes[place - 1] > grid.codes[track]:
            codes[place] = codes[place - 1]
            place -= 1
        codes[place] = grid.codes[track]
    return total
