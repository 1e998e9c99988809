"""Music for tests: hypothesis strategies and small pieces written by hand."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
from hypothesis import assume
from hypothesis import strategies as st

from megatron_music.score.bar_layout import lay_out_bars
from megatron_music.score.instruments import BASS, DRUMS, INSTRUMENT_COUNT, instrument_name
from megatron_music.score.metre import COMMON_TIME, METRES
from megatron_music.score.notes import Metre, Piece, Score, Tempo, Track
from megatron_music.score.quantize import quantize
from megatron_music.score.words import MARKS, clean_text
from megatron_music.tokenizer.vocabulary import Kind, Vocabulary

BASS_LINE = (
    "PIECE_START TRACK_START INST=BASS "
    "BAR_START NOTE_ON=61 TIME_DELTA=4 NOTE_OFF=61 NOTE_ON=59 TIME_DELTA=2 NOTE_OFF=59 "
    "NOTE_ON=58 TIME_DELTA=2 NOTE_OFF=58 NOTE_ON=56 TIME_DELTA=4 NOTE_OFF=56 "
    "NOTE_ON=54 TIME_DELTA=4 NOTE_OFF=54 BAR_END TRACK_END PIECE_END"
)
"""The first bar of the article's own example."""


def track(instrument: int, *notes: tuple[int, int, int]) -> Track:
    """Make a track of (onset, end, pitch) rows."""
    onset, end, pitch = np.array(notes, np.int64).T
    return Track(instrument, onset, end, pitch)


def notes(one: Track) -> list[tuple[int, int, int]]:
    """Return onset, end and pitch of each note of a track, in order."""
    return list(zip(one.onset.tolist(), one.end.tolist(), one.pitch.tolist(), strict=True))


def names(piece: Piece) -> list[str]:
    """Return the instruments of a piece's tracks, in order."""
    return [instrument_name(one.instrument) for one in piece.tracks]


def bass_line() -> Piece:
    """Return the music of BASS_LINE."""
    rows = [(0, 4, 61), (4, 6, 59), (6, 8, 58), (8, 12, 56), (12, 16, 54)]
    return Piece(4, 1, (track(BASS, *rows),))


@st.composite
def tracks(draw: st.DrawFn, longest_ticks: int = 4000) -> Track:
    """Draw a track of up to 30 notes in ticks, unisons and overlaps included."""
    note = st.tuples(st.integers(0, longest_ticks), st.integers(0, 900), st.integers(0, 127))
    rows = draw(st.lists(note, min_size=1, max_size=30))
    instrument = draw(st.one_of(st.just(DRUMS), st.integers(0, INSTRUMENT_COUNT - 1)))
    return track(instrument, *[(onset, onset + length, pitch) for onset, length, pitch in rows])


@st.composite
def scores(draw: st.DrawFn, *, metres: bool = False, expressive: bool = False) -> Score:
    """Draw a score of one to four tracks on some usual resolution, with changes of metre or not.

    Some metres are such that there are no bars of, and some change within a bar. An `expressive`
    one has velocities and tempi, too.
    """
    resolution = draw(st.sampled_from([24, 96, 120, 220, 480, 1024]))
    music = tuple(draw(st.lists(tracks(), min_size=1, max_size=4)))
    tick = st.one_of(st.integers(0, 5000), st.integers(0, 16).map(lambda n: n * resolution))
    score = Score(resolution, music)
    if metres:
        signature = st.one_of(st.sampled_from(METRES), st.just(COMMON_TIME), st.just((17, 16)))
        found = draw(st.lists(st.tuples(tick, signature), max_size=5))
        marks = sorted(found, key=lambda one: one[0])
        score = replace(score, metres=tuple(Metre(onset, *of) for onset, of in marks))
    if not expressive:
        return score
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    loud = draw(st.sampled_from([4, 128]))
    velocities = (rng.integers(1, loud, len(one)) for one in music)
    quarters = draw(st.lists(st.tuples(tick, st.integers(60_000, 15_000_000)), max_size=5))
    return replace(
        score,
        tracks=tuple(replace(a, velocity=b) for a, b in zip(music, velocities, strict=True)),
        tempos=tuple(Tempo(onset, of) for onset, of in sorted(dict(quarters).items())),
    )


steps_per_quarter = st.sampled_from([4, 12])


@st.composite
def pieces(draw: st.DrawFn, *, metres: bool = False, expressive: bool = False) -> Piece:
    """Draw a canonical piece on either grid, in any metres or in 4/4, as `scores` are."""
    score = draw(scores(metres=metres, expressive=expressive))
    if metres:
        known = replace(score, metres=tuple(m for m in score.metres if m.signature in METRES))
        score, _ = lay_out_bars(known, 1, METRES)
        assume(any(len(track) for track in score.tracks))
    return quantize(score, draw(steps_per_quarter))


_letters = st.text(st.characters(categories=("L", "M")), max_size=12)
_ends = st.sampled_from(["", *MARKS])


@st.composite
def sung_pieces(draw: st.DrawFn) -> Piece:
    """Draw two canonical tracks of single notes and chords with words in any script."""
    tracks = []
    for instrument in (0, 40):
        onset = np.cumsum(draw(st.lists(st.integers(1, 5), min_size=6, max_size=12)))
        rows = [(at, at + 1, 60) for at in onset.tolist()]
        rows += [(at, at + 1, 64) for at in onset.tolist()[::3]]
        of = [f"{clean_text(draw(_letters)) or 'la'}{draw(_ends)}" for _ in onset]
        words = [*of, *[""] * (len(rows) - len(of))]
        tracks.append(replace(track(instrument, *rows), syllables=np.array(words, np.str_)))
    return quantize(Score(4, tuple(tracks)), 4)


WORDS = ["Twin", "kle ", "twin", "kle ", "lit", "tle ", "star\n", ""]


def sung_song(number: int, words: list[str]) -> Piece:
    """Return four bars of a melody with words, no two alike, and a bass."""
    rows = [(i * 4, i * 4 + 4, 60 + (i * number) % 11) for i in range(16)]
    melody = replace(track(0, *rows), syllables=np.array(words * 2, np.str_))
    return Piece(4, 4, (melody, track(32, *[(i * 16, i * 16 + 16, 36) for i in range(4)])))


def bars_not_full(track: Track, piece: Piece) -> set[int]:
    """Return the bars (from 0) of a piece whose last step passes in silence in a track."""
    sounding = np.zeros(piece.steps, np.bool_)
    for onset, end in zip(track.onset.tolist(), track.end.tolist(), strict=True):
        sounding[onset:end] = True
    return set(np.flatnonzero(~sounding[piece.bar_starts[1:] - 1]).tolist())


def pick(rng: np.random.Generator, mask: npt.NDArray[np.bool_], vocabulary: Vocabulary) -> int:
    """Draw a legal token, its kind first: else nearly all would be notes that begin."""
    kinds: dict[Kind, list[int]] = {}
    for token in np.flatnonzero(mask).tolist():
        kinds.setdefault(vocabulary.meanings[token][0], []).append(token)
    return int(rng.choice(list(kinds.values())[rng.integers(len(kinds))]))


class Masked(Protocol):
    """What tells the legal next tokens of songs, as the constraints of a sampler do."""

    def take(self, tokens: npt.NDArray[np.int64]) -> None:
        """Move each song past its next tokens [songs, any number]."""

    def mark(self, masks: npt.NDArray[np.bool_]) -> None:
        """Write the legal next tokens to masks [songs, vocabulary]."""


def wander(
    constraint: Masked,
    vocabulary: Vocabulary,
    rng: np.random.Generator,
    given: Sequence[int] = (),
) -> list[int]:
    """Draw legal tokens of one song at random, after those that are given, until it ends."""
    tokens, mask = list(given), np.zeros((1, len(vocabulary)), np.bool_)
    if tokens:
        constraint.take(np.array([tokens]))
    while not tokens or tokens[-1] != vocabulary.piece_end:
        constraint.mark(mask)
        assert mask.any(), "there is always a way on"
        tokens.append(pick(rng, mask[0], vocabulary))
        constraint.take(np.array([tokens[-1:]]))
    return tokens
