"""Pieces to mmmtrack tokens and back; files of their text.

Every token has a place: (track, bar, step, rank, pitch). Encoding makes the tokens with their
places as columns and sorts them once; there is no loop over notes.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from megatron_music.errors import InputError, TokenError
from megatron_music.score.bar_layout import lay_out_bars
from megatron_music.score.instruments import DRUMS
from megatron_music.score.metre import METRES
from megatron_music.score.notes import IntArray, Piece, Score
from megatron_music.score.quantize import quantize
from megatron_music.score.tempo import nearest_tempi
from megatron_music.tokenizer.grammar import walk
from megatron_music.tokenizer.spelling import PARTS
from megatron_music.tokenizer.vocabulary import (
    PITCHES,
    VELOCITY_LEVELS,
    TokenArray,
    TokenizerSettings,
    Vocabulary,
    vocabulary_of,
)

# The order of tokens at one step: a pause leads there, offs come before ons.
_PAUSE, _OFF, _ON = 0, 1, 2
_RANKS = 4


def encode(piece: Piece, vocabulary: Vocabulary) -> TokenArray:
    """Return the tokens of a piece, PIECE_START to PIECE_END, uint16.

    Mirrors MMM (arXiv 2008.06048): a note's end on a barline belongs to the bar that it closes,
    a note longer than a bar has its NOTE_OFF in a later one, and empty bars stay.
    """
    index = {metre: vocabulary.metre_index(metre) for metre in {*piece.metres, piece.metre_of(0)}}
    metres = np.array(
        [vocabulary.metre + index[piece.metre_of(bar)] for bar in range(piece.bars)], np.int64
    )
    states = [metres] if vocabulary.has_metres else []
    if vocabulary.has_tempos:
        tempos_us = [piece.tempo_of(bar) for bar in range(piece.bars)]
        states.append(vocabulary.tempo + nearest_tempi(tempos_us))
    places, tokens = [], []
    # Some of these have one place, such as METRE, TEMPO and BAR_START, or NOTE_ON and its words:
    # sorting keeps their order.
    count = len(piece.tracks)
    for marks in states:
        # Before the bars at which it changes, in each track.
        bars = np.flatnonzero(marks[1:] != marks[:-1]) + 1
        track, bar = np.repeat(np.arange(count), len(bars)), np.tile(bars, count)
        zeros = np.zeros(len(bar), np.int64)
        places.append(_place(piece, track, bar + 1, zeros, 0, zeros))
        tokens.append(marks[bar])
    for columns in (
        _frame(piece, vocabulary),
        *([_velocities(piece, vocabulary)] if vocabulary.has_velocities else []),
        _notes(piece, vocabulary),
        *([_syllables(piece, vocabulary)] if vocabulary.has_lyrics else []),
    ):
        places.append(columns[0])
        tokens.append(columns[1])
    order = np.argsort(np.concatenate(places), kind="stable")
    body = np.concatenate(tokens)[order]
    # The first bar's metre and tempo come once, before the tracks; later ones in each track.
    head = [vocabulary.piece_start, *(int(marks[0]) for marks in states)]
    return np.concatenate((head, body, [vocabulary.piece_end])).astype(np.uint16)


def _velocities(piece: Piece, vocabulary: Vocabulary) -> tuple[IntArray, IntArray]:
    """Return places and tokens of VELOCITY before the notes of a bar at which the level changes."""
    track = np.repeat(np.arange(len(piece.tracks)), [len(t) for t in piece.tracks])
    onset, pitch, loudness = (
        np.concatenate([getattr(t, name) for t in piece.tracks])
        for name in ("onset", "pitch", "loudness")
    )
    bar, levels = piece.bar_at(onset), vocabulary.levels_of(loudness)
    places = _place(piece, track, bar + 1, onset - piece.bar_starts[bar] + 1, _ON, pitch)
    order = np.argsort(places)
    now = np.stack((track, bar, levels))[:, order]
    changes = np.ones(len(order), np.bool_)
    # Also where the bar or the track is another: each bar tells its first level anew.
    changes[1:] = (now[:, 1:] != now[:, :-1]).any(axis=0)
    changed = order[changes]
    return places[changed], vocabulary.velocity + levels[changed]


def _syllables(piece: Piece, vocabulary: Vocabulary) -> tuple[IntArray, IntArray]:
    """Return places and tokens of the syllables, which follow the notes that they are sung to."""
    rows = [
        (index, onset, pitch, part)
        for index, track in enumerate(piece.tracks)
        if track.syllables is not None
        for onset, pitch, sung in zip(
            track.onset.tolist(), track.pitch.tolist(), track.syllables.tolist(), strict=True
        )
        for part in vocabulary.spelling.spell(sung)
    ]
    track, onset, pitch, parts = np.array(rows, np.int64).reshape(-1, 4).T
    bar = piece.bar_at(onset)
    places = _place(piece, track, bar + 1, onset - piece.bar_starts[bar] + 1, _ON, pitch)
    return places, vocabulary.syllable + parts


def _place(
    piece: Piece, track: IntArray, bar: IntArray, step: IntArray, rank: int, pitch: IntArray
) -> IntArray:
    """Return places numbered in reading order: bar 0 is a track's head, step 0 BAR_START's."""
    in_track = (track * (piece.bars + 2) + bar) * _room(piece) + step
    return (in_track * _RANKS + rank) * PITCHES + pitch


def _room(piece: Piece) -> int:
    """Return how many places a bar takes at most: a step, and two beyond for its barlines."""
    return int(np.diff(piece.bar_starts).max()) + 3


def _frame(piece: Piece, vocabulary: Vocabulary) -> tuple[IntArray, IntArray]:
    """Return places and tokens of TRACK_START, INST, DENSITY, BAR_START, BAR_END and TRACK_END."""
    density = vocabulary.settings.density
    levels = density_levels(note_rates(piece), vocabulary)
    bar_starts = [vocabulary.bar_start, vocabulary.bar_end] * piece.bars
    tokens: list[int] = []
    for track, level in zip(piece.tracks, levels.tolist(), strict=True):
        head = [vocabulary.track_start, vocabulary.inst + track.instrument]
        tokens += head + [vocabulary.density + level] * density + bar_starts
        tokens.append(vocabulary.track_end)
    head_length = 2 + density
    bars = np.repeat(np.arange(1, piece.bars + 1), 2)
    bar = np.concatenate((np.zeros(head_length, np.int64), bars, [piece.bars + 1]))
    ends = np.tile([0, _room(piece) - 1], piece.bars)
    step = np.concatenate((np.arange(head_length), ends, [0]))
    count = len(piece.tracks)
    track_index = np.repeat(np.arange(count), len(bar))
    zero = np.zeros(1, np.int64)
    places = _place(piece, track_index, np.tile(bar, count), np.tile(step, count), 0, zero)
    return places, np.array(tokens, np.int64)


def _notes(piece: Piece, vocabulary: Vocabulary) -> tuple[IntArray, IntArray]:
    """Return places and tokens of NOTE_ON, NOTE_OFF and the TIME_DELTAs between them."""
    track = np.repeat(np.arange(len(piece.tracks)), [len(t) for t in piece.tracks])
    onset, end, pitch = (
        np.concatenate([getattr(t, name) for t in piece.tracks])
        for name in ("onset", "end", "pitch")
    )
    # A note that ends on a barline ends in the bar before it: hence the step before its end.
    on_bar, off_bar = piece.bar_at(onset), piece.bar_at(end - 1)
    on_step, off_step = onset - piece.bar_starts[on_bar], end - piece.bar_starts[off_bar]
    places = (
        _place(piece, track, on_bar + 1, on_step + 1, _ON, pitch),
        _place(piece, track, off_bar + 1, off_step + 1, _OFF, pitch),
    )
    tokens = (vocabulary.note_on + pitch, vocabulary.note_off + pitch)
    # Where time passes before an event of its bar, and how many steps. Rank and pitch are left out:
    # events at one step share the pause before them.
    moments = np.unique(np.concatenate(places) // (_RANKS * PITCHES))
    bars, steps = np.divmod(moments, _room(piece))
    # A bar's first pause counts from its step 0, which has place 1: BAR_START has 0.
    before = np.where(np.diff(bars, prepend=-1) == 0, np.concatenate(([1], steps[:-1])), 1)
    deltas = steps - before
    waits = deltas > 0
    pauses = moments[waits] * (_RANKS * PITCHES) + _PAUSE
    return (
        np.concatenate((*places, pauses)),
        np.concatenate((*tokens, vocabulary.time_delta + deltas[waits])),
    )


def piece_of(score: Score, vocabulary: Vocabulary) -> Piece:
    """Return a score on a vocabulary's grid and in its metres; raises MidiError if nothing is left.

    Without METRE tokens all of it is laid in bars of 4/4.
    """
    if vocabulary.has_metres:
        score, _ = lay_out_bars(score, 1, vocabulary.metres)
    return quantize(score, vocabulary.settings.steps_per_quarter)


def note_rates(piece: Piece) -> npt.NDArray[np.float64]:
    """Return the notes a bar of each track: what density levels are cut from."""
    return np.array([len(track) for track in piece.tracks], np.float64) / piece.bars


def density_levels(rates: npt.NDArray[np.float64], vocabulary: Vocabulary) -> IntArray:
    """Return the density level 0..9 of each rate in notes a bar."""
    edges = np.array(vocabulary.settings.density_edges, np.float64)
    return np.searchsorted(edges, rates, side="right").astype(np.int64)


def decode(tokens: Sequence[int] | npt.NDArray[np.integer], vocabulary: Vocabulary) -> Piece:
    """Return the piece that the tokens of one piece spell, hidden bars put back; raises TokenError.

    PIECE_END may be missing after a whole track: text found in articles often stops there.
    """
    walker = walk(np.asarray(tokens), vocabulary)
    if not walker.may_stop:
        raise TokenError(
            f"the piece stops early, {walker.where}; expected a whole track", len(tokens)
        )
    return walker.piece()


def transpose(tokens: TokenArray, semitones: int, vocabulary: Vocabulary) -> TokenArray | None:
    """Return the tokens moved by semitones, drums left alone; None if a pitch leaves 0..127."""
    # Signed: a token below `note_on` has a pitch below 0, which `moves` leaves out.
    ids = tokens.astype(np.int64)
    pitch = np.where(
        ids >= vocabulary.note_off, ids - vocabulary.note_off, ids - vocabulary.note_on
    )
    moves = (ids >= vocabulary.note_on) & (ids < vocabulary.note_off + PITCHES)
    track = np.cumsum(ids == vocabulary.track_start)
    drums = track[ids == vocabulary.inst + DRUMS]
    moves &= ~np.isin(track, drums)
    moved = pitch[moves] + semitones
    if len(moved) and (moved.min() < 0 or moved.max() >= PITCHES):
        return None
    return (ids + np.where(moves, semitones, 0)).astype(np.uint16)


def to_text(tokens: npt.NDArray[np.integer], vocabulary: Vocabulary) -> str:
    """Spell tokens as words, one space between them."""
    return " ".join(vocabulary.tokens[token] for token in tokens.tolist())


def from_text(text: str, vocabulary: Vocabulary) -> TokenArray:
    """Read words as tokens; raises TokenError for a word that is none."""
    ids = []
    for position, word in enumerate(text.split()):
        if word not in vocabulary.ids:
            raise TokenError(
                f"{word!r} is not in the vocabulary of {len(vocabulary)} tokens "
                f"({vocabulary.settings.steps_per_quarter} steps a quarter); correct it",
                position,
            )
        ids.append(vocabulary.ids[word])
    return np.array(ids, np.uint16)


def read_pieces(path: Path, steps_per_quarter: int) -> list[Piece]:
    """Read the pieces of a text file, with DENSITY tokens and other optional ones or without.

    Raises InputError, of a wrong token with its line and its place there, both counted from 1.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as fault:
        raise InputError(f"cannot read {path}: {fault.strerror}; check the path") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text; give a file that encode wrote") from None
    try:
        return _pieces(text, steps_per_quarter)
    except TokenError as fault:
        position, where = fault.position, "at its end"
        for number, line in enumerate(text.splitlines(), start=1):
            tokens = len(line.split())
            if position < tokens:
                where = f"line {number}, token {position + 1}"
                break
            position -= tokens
        raise InputError(f"{path}, {where}: {fault.reason}") from None


def _pieces(text: str, steps_per_quarter: int) -> list[Piece]:
    """Return the pieces of a text; positions in a TokenError count from its start."""
    vocabulary = _vocabulary(text, steps_per_quarter)
    tokens = from_text(text, vocabulary)
    starts = np.flatnonzero(tokens == vocabulary.piece_start).tolist()
    if not starts or starts[0] != 0:
        raise TokenError("expected PIECE_START; give a file that encode wrote", 0)
    pieces = []
    for start, stop in zip(starts, [*starts[1:], len(tokens)], strict=True):
        try:
            pieces.append(decode(tokens[start:stop], vocabulary))
        except TokenError as fault:
            raise TokenError(fault.reason, start + fault.position) from None
    return pieces


def _vocabulary(text: str, steps_per_quarter: int) -> Vocabulary:
    """Return a vocabulary that has the words of a text."""
    velocities = set(re.findall(r"VELOCITY=\d+", text))
    parts = set(re.findall(r"(?:^|\s)SYLLABLE=(\S+)", text))
    settings = TokenizerSettings(
        steps_per_quarter,
        "DENSITY=" in text,
        metres=tuple(map(str, METRES)) if "METRE=" in text else (),
        tempo="TEMPO=" in text,
        lyrics="SYLLABLE=" in text,
        syllable_pieces=tuple(sorted(parts.difference(PARTS))),
    )
    # No velocity is the middle of a level of both kinds.
    for levels in VELOCITY_LEVELS if velocities else ():
        vocabulary = vocabulary_of(replace(settings, velocity=levels))
        if velocities & vocabulary.ids.keys():
            return vocabulary
    return vocabulary_of(settings)
