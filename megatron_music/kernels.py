"""Compile all kernels ahead of time, in parallel processes; their machine code is kept on disk.

numba compiles a function for the types it is called with, so each job calls kernels as the commands
do, with one bar of music.
"""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass

import numpy as np

from megatron_music.progress import Progress, silent
from megatron_music.score.instruments import DRUMS
from megatron_music.score.notes import Piece, Score, Track
from megatron_music.tokenizer.codec import encode
from megatron_music.tokenizer.grammar import Walker, legal_masks, min_tokens
from megatron_music.tokenizer.grammar_state import Plan
from megatron_music.tokenizer.infill_template import Part, lay_out
from megatron_music.tokenizer.structure import INPUTS, position_rows
from megatron_music.tokenizer.structure_tracker import StructureTracker, document_rows
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary, vocabulary_of

# One track of one note, a fifth of a quarter long.
_MIDI = b"MThd\0\0\0\6\0\0\0\1\x01\xe0MTrk\0\0\0\x0d\0\x90\x3c\x40\x60\x80\x3c\x40\0\xff\x2f\0\0"
_SEQ_LENGTH = 256


@dataclass(frozen=True)
class Job:
    """Kernels that are compiled together; `after` names the jobs that compile what they call."""

    run: Callable[[], None]
    after: tuple[str, ...] = ()


def compile_kernels(progress: Progress = silent, processes: int | None = None) -> int:
    """Compile all kernels, in this many processes (None: one a core); returns how many were.

    Functions whose machine code is on disk are only loaded.
    """
    from joblib import cpu_count

    waiting, done, compiled = dict(_JOBS), set[str](), 0
    progress(0, len(_JOBS))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes or cpu_count(), context) as pool:
        running: dict[Future[int], str] = {}
        while waiting or running:
            # Before its jobs in `after` a job would compile their kernels a second time.
            for name in [name for name, job in waiting.items() if done.issuperset(job.after)]:
                running[pool.submit(_compile, name)] = name
                del waiting[name]
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                compiled += future.result()
                done.add(running.pop(future))
                progress(len(done), len(_JOBS))
    return compiled


def _compile(name: str) -> int:
    """Run a job; returns how many functions had to be compiled."""
    from megatron_music.score.jit import count_compiled

    return count_compiled(_JOBS[name].run)


def _vocabulary() -> Vocabulary:
    return vocabulary_of(TokenizerSettings(fill=True))


def _piece() -> Piece:
    onset, end, pitch = np.array([[0, 4, 60], [4, 16, 64]], np.int64).T
    return Piece(4, 1, (Track(0, onset, end, pitch), Track(DRUMS, onset, end, pitch)))


def _tokens() -> np.ndarray[tuple[int], np.dtype[np.uint16]]:
    return encode(_piece(), _vocabulary()).astype(np.uint16)


def _read_midi() -> None:
    from megatron_music.score.midi_reader import parse_file

    parse_file(_MIDI, "one note")


def _encode_scores() -> None:
    from megatron_music.tokenizer.batch_encoder import BatchEncoder

    BatchEncoder(_vocabulary(), 1, 1).encode_score(Score(4, _piece().tracks))


def _encode_files() -> None:
    from megatron_music.tokenizer.batch_encoder import BatchEncoder

    BatchEncoder(_vocabulary(), 1, 1).encode([_MIDI])


def _join_shards() -> None:
    from megatron_music.data.shards.density_kernel import rates_of_windows, settle
    from megatron_music.tokenizer.document_columns import document_columns

    documents = document_columns([(_tokens(), np.ones(2), 0)])
    counts = np.zeros((3, 1 << 16), np.int64)
    # Of the types that the build passes: for others numba would compile anew there.
    settle(documents, np.zeros(1, np.int8), np.ones(9), np.uint16(1), np.uint16(0), counts)
    rates_of_windows(documents, 1, np.uint16(0), np.uint16(0), np.uint16(0))


def _check_documents() -> None:
    from megatron_music.data.report.stats_kernel import walk
    from megatron_music.tokenizer.grammar_walk_kernel import suspect_documents

    tokens, vocabulary = _tokens(), _vocabulary()
    lengths = np.full(1, len(tokens), np.int32)
    list(suspect_documents(tokens, lengths, vocabulary))
    walk(tokens, lengths, vocabulary, np.zeros(33, np.int64), np.zeros(17, np.int64))


def _position_rows() -> None:
    tokens, vocabulary = _tokens().astype(np.int64), _vocabulary()
    rows = position_rows(INPUTS, _SEQ_LENGTH, vocabulary)
    starts, places, is_plain = (
        np.zeros(1, np.int64),
        np.zeros((1, 2), np.int64),
        np.zeros(1, np.bool_),
    )
    document_rows(tokens, starts, places, is_plain, rows, vocabulary)
    StructureTracker(rows, vocabulary, 1).advance(tokens[None])


def _cut_windows() -> None:
    from megatron_music.tokenizer.window_draw import documents_of, new_draw
    from megatron_music.tokenizer.windows import plan, shortened

    tokens, vocabulary, one = _tokens(), _vocabulary(), np.ones(1, np.int32)
    documents = documents_of(tokens, np.zeros(1, np.int64), one * len(tokens))
    draw = new_draw(0, range(1))
    plan(documents, draw, 1, _SEQ_LENGTH, vocabulary, moves=True).read(0)
    shortened(documents, np.zeros(1, np.int64), _SEQ_LENGTH, vocabulary)


def _pack_documents() -> None:
    from megatron_music.train.packing_kernel import best_fit

    best_fit(np.ones(2, np.int32), np.arange(2), _SEQ_LENGTH)


def _walk_documents() -> None:
    tokens, vocabulary = _tokens(), _vocabulary()
    walker = Walker(vocabulary)
    walker.follow(tokens)
    walker.refusal(vocabulary.piece_end)
    legal_masks(tokens, vocabulary)
    min_tokens(vocabulary, Plan())


def _mask_songs() -> None:
    from megatron_music.tokenizer.grammar_state import new_rules, new_state
    from megatron_music.tokenizer.grammar_walk_kernel import mark_legal, take_tokens

    vocabulary = _vocabulary()
    plan = Plan(bars=1)
    rules = new_rules(vocabulary, plan)
    state = new_state([plan], rules)
    take_tokens(np.full((1, 1), vocabulary.piece_start), state, rules)
    mark_legal(state, rules, np.zeros((1, len(vocabulary)), np.bool_))


def _mask_sheets() -> None:
    from megatron_music.tokenizer.infill_kernel import (
        mark_template_tokens,
        new_templates,
        take_template_tokens,
    )

    vocabulary = _vocabulary()
    piece = _piece()
    template = lay_out([Part(0, piece.tracks[0], (0,), None)], piece, 0, 1, vocabulary, fill=True)
    templates = new_templates([template], vocabulary, _SEQ_LENGTH)
    take_template_tokens(np.full((1, 1), vocabulary.piece_start), templates)
    mark_template_tokens(templates, np.zeros((1, len(vocabulary)), np.bool_))


def _choose_tokens() -> None:
    from megatron_music.generate.sampling_kernel import sample_tokens, song_seeds
    from megatron_music.generate.sampling_params import SamplingParams

    scores, kinds = np.zeros((1, 4), np.float32), np.zeros(4, np.int64)
    sample_tokens(
        scores,
        song_seeds([7], 0),
        1,
        SamplingParams(1.0, 0, 0.95, 0.1),
        kinds,
        0,
        np.zeros(1, np.int64),
    )


_JOBS = {
    "MIDI files": Job(_read_midi),
    "scores": Job(_encode_scores),
    "positions": Job(_position_rows),
    "checks": Job(_check_documents),
    "templates": Job(_mask_sheets),
    "songs": Job(_mask_songs),
    "documents": Job(_walk_documents),
    "choices": Job(_choose_tokens),
    "windows": Job(_cut_windows),
    "packing": Job(_pack_documents),
    "shards": Job(_join_shards),
    "batches of files": Job(_encode_files, after=("MIDI files", "scores")),
}
"""The jobs, the longest first, so that no process is left alone with a long one at the end."""
