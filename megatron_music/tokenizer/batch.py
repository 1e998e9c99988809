"""Whole files to documents with the compiled kernels, many at a time.

    encoder = BatchEncoder(vocabulary, bars=4, hop=4)
    for piece in encoder.encode(raws): ...          # raws: the bytes of MIDI files

What the kernels are not sure of comes back as None, for the readable path to decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.errors import UsageError
from megatron_music.score.compiled import kernel, wide
from megatron_music.score.grid_kernel import MOST_BARS, MOST_NOTES, Grid
from megatron_music.score.hashing import WORD
from megatron_music.score.instruments import VOICES
from megatron_music.score.midi_kernel import (
    CODE,
    METRE_ROWS,
    MOST_METRES,
    MOST_TRACKS,
    NOT_SURE,
    NOTE_ROWS,
    TRACK_ROWS,
    WORK_CELLS,
    Bytes,
    Columns,
    scan,
)
from megatron_music.score.notes import QUARTERS_PER_BAR, Score
from megatron_music.score.stretch_kernel import (
    BAR,
    Stretches,
    find_stretches,
    keep_stretches,
    new_stretches,
)
from megatron_music.tokenizer.encode_kernel import (
    MOST_WINDOW_BARS,
    NO_ROOM,
    EncodePlan,
    Output,
    Setup,
    encode_notes,
    new_setup,
)
from megatron_music.tokenizer.vocabulary import TokenArray, Vocabulary

Figures = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

BARS, WINDOWS, DOCUMENTS, TOKENS, TRACKS, METRES, STRETCHES = range(7)
"""Columns of `Batch.pieces`."""

_LARGEST_TICK = 2**31 - 1
_TOKENS_PER_FILE, _DOCUMENTS_PER_FILE, _TRACKS_PER_DOCUMENT = 1 << 15, 1 << 7, 1 << 3


class Reading(NamedTuple):
    """What files are read into: see `midi_kernel.scan`."""

    notes: Columns
    tracks: Columns
    metres: Columns
    work: Columns
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


@dataclass(frozen=True)
class Batch:
    """The documents of some pieces, one behind the other.

    `tokens` uint16; of each document `lengths` in tokens, `tracks` and `bars`, int32; of each
    track of each document `notes`, int32. Of each piece a row of `pieces`, int64: bars, windows,
    documents, tokens, tracks, metres other than 4/4 and stretches in 4/4; and its `fingerprints`,
    the codes of its `instruments`, ascending, and its other `metres`, numerator and denominator.
    Bars are negative and the rest is 0 or empty where the kernels were not sure; where they were
    sure that nothing is in 4/4, the metres are there.
    """

    tokens: TokenArray
    lengths: npt.NDArray[np.int32]
    tracks: npt.NDArray[np.int32]
    bars: npt.NDArray[np.int32]
    notes: npt.NDArray[np.int32]
    pieces: Figures
    fingerprints: list[str]
    instruments: list[list[int]]
    metres: list[list[list[int]]]

    def rates(self) -> npt.NDArray[np.float64]:
        """Return the notes a bar of each track of each document: what densities are cut from."""
        rates: npt.NDArray[np.float64] = self.notes / np.repeat(self.bars, self.tracks)
        return rates


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
        count, tracks, metres, resolution, _ = scan(
            data, start, end, longest, reading.notes, reading.tracks, reading.metres, reading.work
        )
        others = other_metres(reading.metres, metres, reports.metres, 2 * file) if count > 0 else 0
        if setup.plan.voices and not name_voices(reading.tracks, tracks):
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
    notes, found, resolution = reading.notes, reading.stretches, sizes.resolution
    bar_ticks = QUARTERS_PER_BAR * resolution
    stretches = find_stretches(
        notes, sizes.notes, reading.metres, metres, bar_ticks, shortest_bars, found
    )
    count, tracks = keep_stretches(
        notes, sizes.notes, reading.tracks, sizes.tracks, resolution, found, stretches
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
        reading.notes,
        sizes.notes,
        reading.tracks,
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


def last_training_word(weights: Sequence[int]) -> int:
    """Return the last word that a fingerprint can begin with for its piece to be in training.

    `weights` are those of the sides of the split, training first: a piece is in training when its
    word, as a fraction of 2 ** 64, is under the first weight's share.
    """
    return min(WORD, ((weights[0] << 64) - 1) // sum(weights))


class BatchEncoder:
    """Encodes files, or scores, of any number with one set of settings and buffers that are kept.

    Windows of `bars` bars begin every `hop` bars. `voices` takes files as chorales of four tracks
    and is not sure of others (scores are taken as they are). `merge` makes the tracks of one
    instrument one. `shuffle` puts tracks in an order that depends on `seed`, music and window
    alone, of which the first `max_tracks` stay. `shifts` are the keys of pieces for training in
    semitones; those are the pieces whose fingerprint begins with a word of at most `last_training`.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        bars: int,
        hop: int,
        *,
        voices: bool = False,
        merge: bool = False,
        shuffle: bool = False,
        seed: int = 0,
        max_tracks: int | None = None,
        shifts: range = range(1),
        last_training: int = WORD,
    ) -> None:
        if not (1 <= hop <= bars <= MOST_WINDOW_BARS):
            raise UsageError(
                f"windows must have 1..{MOST_WINDOW_BARS} bars and begin every 1..{bars} bars "
                f"(got {bars} bars, hop {hop})"
            )
        plan = EncodePlan(
            steps_per_quarter=vocabulary.settings.steps_per_quarter,
            bars=bars,
            hop=hop,
            voices=voices,
            merge=merge,
            shuffle=shuffle,
            seed=np.uint64(seed & WORD),
            most_tracks=MOST_TRACKS if max_tracks is None else max_tracks,
            lowest_shift=shifts.start,
            shifts=len(shifts),
            last_training=np.uint64(last_training),
        )
        self._setup = new_setup(vocabulary, plan)
        self._reading = Reading(
            notes=np.empty((NOTE_ROWS, MOST_NOTES), np.int32),
            tracks=np.empty((TRACK_ROWS, MOST_TRACKS), np.int32),
            metres=np.empty((METRE_ROWS, MOST_METRES), np.int32),
            work=np.empty(WORK_CELLS, np.int32),
            stretches=new_stretches(),
        )
        self._output = _new_output(1)

    def encode(self, files: Sequence[bytes]) -> Batch:
        """Read and encode the bytes of MIDI files."""
        data = np.frombuffer(bytearray().join(files), np.uint8)
        edges = np.cumsum([0, *map(len, files)], dtype=np.int64)
        reports = _new_reports(len(files))
        self._start(len(files))
        done = 0
        while done < len(files):
            done = encode_files(
                data, edges, done, self._reading, self._setup, self._output, reports
            )
            if done < len(files):
                self._output = _doubled(self._output)
        return self._batch(reports)

    def encode_score(self, score: Score) -> Batch:
        """Encode one score, whatever its metre."""
        reports = _new_reports(1)
        self._start(1)
        reading = _reading_of(score)
        done = reading is None
        while reading is not None and not done:
            notes, tracks = reading.notes.shape[1], reading.tracks.shape[1]
            sizes = Sizes(notes, tracks, score.ticks_per_quarter, 1)
            done = encode_piece(0, sizes, reading, self._setup, self._output, reports)
            if not done:
                self._output = _doubled(self._output)
        return self._batch(reports)

    def _start(self, files: int) -> None:
        if len(self._output.tokens) < files * _TOKENS_PER_FILE:
            self._output = _new_output(files)
        self._output.used[:] = 0

    def _batch(self, reports: Reports) -> Batch:
        output = self._output
        tokens, documents, tracks = output.used.tolist()
        prints, sure = reports.prints.tolist(), (reports.pieces[:, BARS] > 0).tolist()
        counts = reports.pieces[:, TRACKS].tolist()
        return Batch(
            output.tokens[:tokens].copy(),
            output.lengths[:documents].copy(),
            output.tracks[:documents].copy(),
            output.bars[:documents].copy(),
            output.notes[:tracks].copy(),
            reports.pieces,
            [f"{a:016x}{b:016x}" if ok else "" for (a, b), ok in zip(prints, sure, strict=True)],
            [row[:n].tolist() for row, n in zip(reports.codes, counts, strict=True)],
            [
                reports.metres[2 * i : 2 * i + 2, :n].T.tolist()
                for i, n in enumerate(reports.pieces[:, METRES].tolist())
            ],
        )


def _new_reports(pieces: int) -> Reports:
    rows = np.zeros((pieces, 7), np.int64)
    rows[:, BARS] = NOT_SURE
    return Reports(
        rows,
        np.zeros((pieces, 2), np.uint64),
        np.zeros((pieces, MOST_TRACKS), np.int32),
        np.zeros((2 * pieces, MOST_METRES), np.int32),
    )


def _new_output(files: int) -> Output:
    documents = files * _DOCUMENTS_PER_FILE
    return Output(
        tokens=np.empty(files * _TOKENS_PER_FILE, np.uint16),
        lengths=np.empty(documents, np.int32),
        tracks=np.empty(documents, np.int32),
        bars=np.empty(documents, np.int32),
        notes=np.empty(documents * _TRACKS_PER_DOCUMENT, np.int32),
        used=np.zeros(3, np.int64),
    )


def _doubled(output: Output) -> Output:
    """Return an output of twice the size that holds the same."""
    columns = {name: getattr(output, name) for name in Output._fields if name != "used"}
    grown = {name: np.concatenate((old, np.empty_like(old))) for name, old in columns.items()}
    return Output(**grown, used=output.used)


def _reading_of(score: Score) -> Reading | None:
    """Return a score's columns as if they had been read; None where they do not fit into cells."""
    sounding = [track for track in score.tracks if len(track)]
    if not sounding:
        return None
    times = np.concatenate([(track.onset, track.end, track.pitch) for track in sounding], axis=1)
    if times.min() < 0 or times.max() > _LARGEST_TICK:
        return None
    lengths = [len(track) for track in sounding]
    owners = np.repeat(np.arange(len(sounding)), lengths)
    return Reading(
        notes=np.concatenate((owners[None, :], times)).astype(np.int32),
        tracks=np.array([[track.instrument for track in sounding], lengths], np.int32),
        metres=np.empty((METRE_ROWS, 0), np.int32),
        work=np.empty(0, np.int32),
        stretches=new_stretches(),
    )
