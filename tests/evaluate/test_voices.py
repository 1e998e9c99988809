"""The figures of voices, worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_music.evaluate import voices
from megatron_music.score.instruments import DRUMS, VOICES
from megatron_music.score.notes import Piece, Track
from megatron_music.tokenizer.vocabulary import TokenizerSettings
from tests.music import track

NAMES = ("SOPRANO", "ALTO", "TENOR", "BASS")


def choir(*chords: tuple[int, ...], steps: int = 4, sixteenths: int = 4) -> Piece:
    """Sing chords, soprano first, each for so many sixteenths; 0 is silence."""
    length = sixteenths * steps // 4
    tracks = []
    for code, line in zip(VOICES, zip(*chords, strict=True), strict=False):
        rows = [(length * i, length * (i + 1), p) for i, p in enumerate(line) if p]
        tracks += [track(code, *rows)] if rows else []
    return Piece(steps, -(-len(chords) * sixteenths // 16), tuple(tracks))


def test_cells_hold_what_each_voice_sings_in_each_sixteenth() -> None:
    for steps in (4, 12):
        cells = voices.voice_cells(choir((72, 0, 0, 48), (74, 65, 0, 48), steps=steps))
        assert cells.shape == (4, 16)
        assert cells[0].tolist() == [72] * 4 + [74] * 4 + [-1] * 8
        assert cells[1].tolist() == [-1] * 4 + [65] * 4 + [-1] * 8
        assert (cells[2] == -1).all()


def test_other_instruments_are_not_voices() -> None:
    piece = Piece(4, 1, (track(0, (0, 16, 60)), track(DRUMS, (0, 1, 36))))
    assert (voices.voice_cells(piece) == -1).all()
    assert [figure(piece) for figure in voices.VOICE_FIGURES.values()] == [0] * 7


@pytest.mark.parametrize(
    ("chords", "fifths", "octaves"),
    [
        (((79, 72), (81, 74)), 1, 0),  # G over C to A over D
        (((91, 72), (93, 74)), 1, 0),  # a twelfth
        (((72, 60), (74, 62)), 0, 1),
        (((72, 72), (74, 74)), 0, 1),  # unisons
        (((79, 72), (79, 72)), 0, 0),  # nothing moves
        (((79, 60), (69, 62)), 0, 0),  # against one another
        (((79, 72), (81, 73)), 0, 0),  # to a sixth
        (((79, 72), (0, 0), (81, 74)), 0, 0),  # over a rest
        (((79, 72, 60), (81, 74, 62)), 2, 1),  # the octave between the lower two as well
    ],
)
def test_parallels_are_two_voices_that_move_alike(
    chords: tuple[tuple[int, ...], ...], fifths: int, octaves: int
) -> None:
    piece = choir(*chords)
    assert voices.parallel_fifths(piece) == fifths
    assert voices.parallel_octaves(piece) == octaves


def test_parallels_are_counted_a_bar() -> None:
    piece = choir(*[(79, 72), (81, 74)] * 4)
    assert piece.bars == 2
    assert voices.parallel_fifths(piece) == 7 / 2


@pytest.mark.parametrize(
    ("interval", "share"),
    [(0, 0), (1, 1), (2, 1), (3, 0), (4, 0), (5, 0), (6, 1), (7, 0), (8, 0), (9, 0), (10, 1),
     (11, 1), (12, 0), (13, 1)],
)  # fmt: skip
def test_seconds_tritones_and_sevenths_are_dissonant(interval: int, share: int) -> None:
    assert voices.dissonant_pairs(choir((60 + interval, 60))) == share
    assert voices.dissonant_pairs(choir((60, 60 + interval))) == share


def test_pairs_are_counted_where_both_sound() -> None:
    # C E G B: of six pairs the seventh is dissonant; then the bass alone.
    assert voices.dissonant_pairs(choir((71, 67, 64, 60), (0, 0, 0, 60))) == 1 / 6


@pytest.mark.parametrize(
    ("chord", "share"),
    [
        ((72, 67, 64, 60), 1),
        ((72, 67, 63, 60), 1),
        ((78, 75, 72, 0), 1),  # diminished, of three voices
        ((80, 76, 72, 60), 1),  # augmented
        ((79, 72, 64, 52), 1),  # inverted
        ((72, 67, 60, 48), 0),  # no third
        ((70, 67, 64, 60), 0),  # a seventh chord
    ],
)
def test_a_complete_triad_has_its_three_notes_alone(chord: tuple[int, ...], share: int) -> None:
    assert voices.complete_triads(choir(chord)) == share
    assert voices.complete_triads(choir(chord, (72, 67, 60, 48))) == share / 2
    assert voices.complete_triads(choir(chord, (72, 67, 0, 0))) == share


def test_voices_cross_where_one_is_below_the_next() -> None:
    assert voices.voices_crossed(choir((72, 67, 64, 60))) == 0
    assert voices.voices_crossed(choir((72, 72, 60, 60))) == 0
    assert voices.voices_crossed(choir((72, 67, 64, 60), (67, 72, 64, 60))) == 1 / 2
    # A silent voice between them does not matter, one that sounds alone does not count.
    assert voices.voices_crossed(choir((60, 0, 64, 0), (0, 0, 0, 60))) == 1


def test_held_cells_are_as_the_one_before() -> None:
    piece = choir((72, 60), (74, 60), (74, 60), (74, 60))
    assert voices.held_cells(piece) == (14 + 15) / 30


@pytest.mark.parametrize(
    ("last", "share"),
    [
        ((72, 67, 64, 48), 1),
        ((72, 72, 64, 48), 1),  # without the fifth
        ((72, 67, 60, 48), 0),  # without the third
        ((72, 67, 64, 52), 0),  # inverted
        ((74, 71, 67, 55), 0),  # the dominant
        ((70, 67, 64, 48), 0),  # with a seventh
    ],
)
def test_a_piece_in_c_ends_on_c(last: tuple[int, ...], share: int) -> None:
    scale = [(72, 67, 64, 48), (74, 71, 67, 55), (72, 69, 65, 53), (72, 67, 64, 48)]
    for rest in ((), ((0, 0, 0, 0),)):
        for up in range(6):
            moved = [tuple(p + up if p else 0 for p in c) for c in (*scale, last, *rest)]
            assert voices.ends_on_the_tonic(choir(*moved)) == share


def test_a_piece_in_minor_may_end_in_major() -> None:
    scale = [(69, 64, 60, 45), (71, 68, 64, 52), (69, 65, 62, 50), (69, 64, 60, 45)]
    for last, share in (((69, 64, 60, 45), 1), ((69, 64, 61, 45), 1), ((72, 67, 64, 48), 0)):
        assert voices.ends_on_the_tonic(choir(*scale, last)) == share


@given(st.lists(st.lists(st.integers(30, 90), min_size=4, max_size=4), min_size=1, max_size=16))
def test_figures_stay_the_same_in_any_key(chords: list[list[int]]) -> None:
    piece = choir(*map(tuple, chords))
    moved = Piece(
        4,
        piece.bars,
        tuple(Track(t.instrument, t.onset, t.end, t.pitch + 5) for t in piece.tracks),
    )
    for name, figure in voices.VOICE_FIGURES.items():
        if figure is not voices.ends_on_the_tonic:  # two keys may fit equally well
            assert figure(moved) == pytest.approx(figure(piece)), name


@pytest.mark.parametrize(
    ("ensemble", "found"),
    [((), ()), (("0", "33"), ()), (("SOPRANO",), ()), (("SOPRANO", "0"), ()),
     (("SOPRANO", "BASS"), ("SOPRANO", "BASS")), (NAMES, NAMES)],
)  # fmt: skip
def test_music_has_voices_where_its_ensemble_is_of_them(
    ensemble: tuple[str, ...], found: tuple[str, ...]
) -> None:
    assert TokenizerSettings(ensemble=ensemble).voices == found


def test_a_last_chord_is_looked_for_before_silence() -> None:
    piece = choir((72, 67, 64, 48))
    longer = Piece(4, 9, piece.tracks)
    assert voices.ends_on_the_tonic(longer) == 1
    assert np.isclose(voices.parallel_fifths(longer), 0)
