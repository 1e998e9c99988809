"""Whole files to documents with the compiled kernels, many at a time.

    encoder = BatchEncoder(vocabulary, bars=4, hop=4)
    for piece in encoder.encode(raws): ...          # raws: the bytes of MIDI files

What the kernels are not sure of comes back as None, for the readable path to decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from megatron_music.errors import UsageError
from megatron_music.score.grid_kernel import MOST_NOTES, NOT_SURE
from megatron_music.score.hashing import WORD
from megatron_music.score.midi_columns import (
    MOST_METRES,
    MOST_TRACKS,
    TEMPO,
    US_PER_MINUTE,
    Buffers,
)
from megatron_music.score.midi_kernel import new_buffers
from megatron_music.score.notes import Score
from megatron_music.score.tempo_kernel import MOST_CONTROLS
from megatron_music.tokenizer.batch_kernel import (
    BARS,
    METRES,
    TRACKS,
    Figures,
    Reports,
    Sizes,
    encode_files,
    encode_in_bars,
)
from megatron_music.tokenizer.document_columns import DocumentColumns, concatenated
from megatron_music.tokenizer.encode_setup import MOST_WINDOW_BARS, EncodePlan, new_setup
from megatron_music.tokenizer.vocabulary import Vocabulary

_LARGEST_TICK = 2**31 - 1
_TOKENS_PER_FILE, _DOCUMENTS_PER_FILE, _TRACKS_PER_DOCUMENT = 1 << 15, 1 << 7, 1 << 3


@dataclass(frozen=True)
class Batch:
    """The documents of some pieces, and what is known of each piece.

    Of each piece a row of `pieces`, int64: bars, windows, documents, tokens, tracks, metres that
    are not kept and stretches that are; and its `fingerprints`, the codes of its `instruments`,
    ascending, and its other `metres`, numerator and denominator.
    Bars are negative and the rest is 0 or empty where the kernels were not sure; where they were
    sure that nothing is in a metre that is kept, the metres are there.
    """

    documents: DocumentColumns
    pieces: Figures
    fingerprints: list[str]
    instruments: list[list[int]]
    metres: list[list[list[int]]]


class BatchEncoder:
    """Encodes files, or scores, of any number with one set of settings and buffers that are kept.

    Windows of `bars` bars begin every `hop` bars; more than a piece can have are whole pieces. Of
    music in other metres, too, stretches of fewer than `shortest` bars are left out (None: than a
    window). `voices` takes files as chorales of four tracks
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
        shortest: int | None = None,
        voices: bool = False,
        merge: bool = False,
        shuffle: bool = False,
        seed: int = 0,
        max_tracks: int | None = None,
        shifts: range = range(1),
        last_training: int = WORD,
    ) -> None:
        if not (1 <= hop <= bars) or (shortest or bars) > MOST_WINDOW_BARS:
            raise UsageError(
                f"windows must have 1..{MOST_WINDOW_BARS} bars and begin every 1..{bars} bars "
                f"(got {shortest or bars} bars, hop {hop})"
            )
        plan = EncodePlan(
            steps_per_quarter=vocabulary.settings.steps_per_quarter,
            bars=bars,
            hop=hop,
            shortest=shortest or bars,
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
        controls = MOST_CONTROLS if vocabulary.has_tempos else 0
        self._midi = new_buffers(MOST_NOTES, controls=controls)
        self._output = _new_output(1)

    def encode(self, files: Sequence[bytes]) -> Batch:
        """Read and encode the bytes of MIDI files."""
        data = np.frombuffer(bytearray().join(files), np.uint8)
        edges = np.cumsum([0, *map(len, files)], dtype=np.int64)
        reports = _new_reports(len(files))
        self._start(len(files))
        done = 0
        while done < len(files):
            done = encode_files(data, edges, done, self._midi, self._setup, self._output, reports)
            if done < len(files):
                # The second half is only room: what is in it is overwritten.
                self._output = concatenated([self._output, self._output])
        return self._batch(reports)

    def encode_score(self, score: Score) -> Batch:
        """Encode one score: its metres count where the vocabulary has metres; else all is 4/4."""
        reports = _new_reports(1)
        self._start(1)
        midi = _columns_of(score, has_metres=self._setup.has_metres)
        done = midi is None
        while midi is not None and not done:
            shapes = (midi.notes.shape[1], midi.tracks.shape[1], midi.metres.shape[1])
            sizes = Sizes(*shapes, score.ticks_per_quarter, midi.controls.shape[1])
            done = encode_in_bars(0, sizes, midi, self._setup, self._output, reports)
            if not done:
                self._output = concatenated([self._output, self._output])
                midi = _columns_of(score, has_metres=self._setup.has_metres)
        return self._batch(reports)

    def _start(self, files: int) -> None:
        if len(self._output.tokens) < files * _TOKENS_PER_FILE:
            self._output = _new_output(files)
        # The buffers are kept from batch to batch: fresh memory costs more than encoding into it.
        self._setup.used[:] = 0

    def _batch(self, reports: Reports) -> Batch:
        tokens, documents, tracks = map(slice, self._setup.used.tolist())
        prints, sure = reports.prints.tolist(), (reports.pieces[:, BARS] > 0).tolist()
        counts = reports.pieces[:, TRACKS].tolist()
        return Batch(
            # Copied: the next batch writes into the same buffers.
            concatenated([self._output.part(documents, tokens, tracks)]),
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


def _new_output(files: int) -> DocumentColumns:
    documents = files * _DOCUMENTS_PER_FILE
    return DocumentColumns(
        tokens=np.empty(files * _TOKENS_PER_FILE, np.uint16),
        lengths=np.empty(documents, np.int32),
        tracks=np.empty(documents, np.int32),
        first_bars=np.empty(documents, np.int32),
        rates=np.empty(documents * _TRACKS_PER_DOCUMENT, np.float64),
    )


def _columns_of(score: Score, *, has_metres: bool) -> Buffers | None:
    """Return a score's columns as if they had been read; None where they do not fit into cells."""
    sounding = [track for track in score.tracks if len(track)]
    if not sounding:
        return None
    times = np.concatenate(
        [(track.onset, track.end, track.pitch, track.velocity) for track in sounding], axis=1
    )
    if times.min() < 0 or times.max() > _LARGEST_TICK:
        return None
    lengths = [len(track) for track in sounding]
    owners = np.repeat(np.arange(len(sounding)), lengths)
    metres = sorted(score.metres if has_metres else (), key=lambda metre: metre.onset_ticks)
    signatures = [(one.onset_ticks, one.numerator, one.denominator) for one in metres]
    tempos = [(one.onset_ticks, 0, TEMPO, one.quarter_us) for one in score.tempos]
    # A score without a list of tempi, as of notation, has one tempo throughout.
    if not tempos:
        tempos.append((0, 0, TEMPO, round(US_PER_MINUTE / score.tempo_bpm)))
    return new_buffers(0, 0, 0, 0)._replace(
        notes=np.concatenate((owners[None, :], times)).astype(np.int32),
        tracks=np.array(
            [[one.instrument for one in sounding], lengths, [0] * len(lengths)], np.int32
        ),
        metres=np.ascontiguousarray(np.array(signatures, np.int32).reshape(-1, 3).T),
        controls=np.ascontiguousarray(np.array(tempos, np.int32).T),
    )
