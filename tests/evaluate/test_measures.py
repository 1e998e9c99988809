"""Every figure of a piece, worked by hand."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given

from megatron_music.evaluate import measures
from megatron_music.evaluate.bootstrap import FloatArray
from megatron_music.score.instruments import BASS, DRUMS, SOPRANO
from megatron_music.score.notes import Piece, Track
from tests.music import bass_line, pieces, track

C_MAJOR_SCALE = (60, 62, 64, 65, 67, 69, 71, 72)


def scale(*pitches: int) -> Piece:
    """Half a quarter a note, one track."""
    rows = [(2 * place, 2 * place + 2, pitch) for place, pitch in enumerate(pitches)]
    return Piece(4, -(-len(pitches) // 8), (track(0, *rows),))


def duet() -> Piece:
    """A held C3 under E4 and G4; the drums strike twice."""
    upper = track(SOPRANO, (0, 8, 64), (8, 16, 67))
    return Piece(4, 1, (upper, track(BASS, (0, 16, 48)), track(DRUMS, (0, 1, 36), (8, 9, 38))))


QUARTER = Piece(4, 1, (track(0, (0, 4, 60), (4, 12, 62)), track(1, (0, 16, 48))))
CHORD = Piece(4, 2, (track(0, (0, 4, 60), (0, 4, 64), (0, 4, 67)),))
GROOVE = Piece(4, 2, (track(0, (0, 4, 60), (8, 12, 60), (16, 20, 60), (20, 24, 60)),))
SEVENTH = Piece(4, 2, (track(0, (0, 32, 60)), track(1, (0, 16, 71), (16, 32, 64))))
ENDS = track(0, (0, 16, 60), (16, 28, 62), (36, 48, 64))
DRUMS_ALONE = Piece(4, 1, (track(DRUMS, (0, 1, 36)),))


@pytest.mark.parametrize(
    ("figure", "piece", "expected"),
    [
        # The bass line is 61 59 58 56 54 in 4, 2, 2, 4, 4 sixteenths.
        (measures.notes_per_bar, bass_line(), 5),
        (measures.polyphony, bass_line(), 1),
        (measures.pitch_range, bass_line(), 7),
        (measures.note_length, bass_line(), 16 / 5 / 4),
        (measures.melodic_interval, bass_line(), (2 + 1 + 2 + 2) / 4),
        # Notes that sound together count by the step, silence does not, and drums have no pitch.
        (measures.notes_per_bar, duet(), 5),
        (measures.polyphony, duet(), 2),
        (measures.polyphony, CHORD, 3),
        (measures.pitch_range, duet(), 67 - 48),
        (measures.polyphony, DRUMS_ALONE, 0),
        (measures.in_key, DRUMS_ALONE, 0),
        # Of one bar one track sounds in three quarters, the other throughout.
        (measures.rests, QUARTER, (1 / 4 + 0) / 2),
        (measures.rests, duet(), 0),
        # Three bars: one full, one that stops after its third quarter, one that begins late.
        (measures.silent_ends, Piece(4, 3, (ENDS,)), 1 / 3),
        (measures.silent_ends,
         Piece(4, 3, (ENDS, track(1, (0, 48, 48)), track(DRUMS, (0, 1, 36)))), 1 / 6),
        # Onsets at steps 0 and 8 of bar 1, 0 and 4 of bar 2: of 16 steps, 4 and 8 differ.
        (measures.groove_similarity, GROOVE, 14 / 16),
        (measures.groove_similarity, bass_line(), 1),
        # C4 with B4 for a bar, then with E4: of two intervals a bar long, one is a major seventh.
        (measures.minor_seconds, SEVENTH, 0.5),
        # A minor and its triad, with the leading note; C major with one note outside the scale.
        (measures.in_key, scale(57, 59, 60, 62, 64, 65, 68, 69, 57, 60, 64, 69), 1),
        (measures.in_key, scale(*C_MAJOR_SCALE, 60, 64, 67, 66), 11 / 12),
    ],
)  # fmt: skip
def test_a_figure_is_that_worked_by_hand(
    figure: Callable[[Piece], float], piece: Piece, expected: float
) -> None:
    assert figure(piece) == pytest.approx(expected)


LENGTHS = Piece(4, 2, (track(0, (0, 1, 60), (1, 3, 62), (3, 32, 64)),))
CHORDS = Piece(4, 1, (track(0, (0, 4, 60), (0, 4, 64), (4, 8, 67), (8, 12, 47)),))


@pytest.mark.parametrize(
    ("histogram", "piece", "expected"),
    [
        (measures.onset_histogram, duet(), {0: 3 / 5, 8: 2 / 5}),
        (measures.onset_histogram, DRUMS_ALONE, {0: 1}),
        (measures.pitch_class_histogram, DRUMS_ALONE, {}),
        # C3 with E4 is a major third (class 4), with G4 a fifth (class 5), half the bar each.
        (measures.harmony_histogram, duet(), {4: 0.5, 5: 0.5}),
        (measures.length_histogram, LENGTHS, {0: 1 / 3, 1: 1 / 3, 15: 1 / 3}),
        # Chords C4-E4, then G4 alone, then B2: E4 to G4 is +3, G4 to B2 is -20, counted as -12.
        (measures.interval_histogram, CHORDS, {12 + 3: 0.5, 0: 0.5}),
    ],
)
def test_a_histogram_is_that_worked_by_hand(
    histogram: Callable[[Piece], FloatArray], piece: Piece, expected: dict[int, float]
) -> None:
    shares = histogram(piece)
    found = {place: shares[place] for place in np.flatnonzero(shares).tolist()}
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("tonic", range(12))
def test_a_major_scale_is_in_its_key_in_all_keys(tonic: int) -> None:
    # The scale and its triad: C D E F G A B C, C E G C.
    piece = scale(*(pitch + tonic for pitch in (*C_MAJOR_SCALE, 60, 64, 67, 72)))
    sounding = np.bincount([p % 12 for p in piece.tracks[0].pitch], minlength=12) / 12
    assert measures.likeliest_key(sounding) == (tonic, True)
    assert measures.in_key(piece) == pytest.approx(1)
    expected = np.array([4, 0, 1, 0, 2, 1, 0, 2, 0, 1, 0, 1]) / 12
    assert measures.pitch_class_histogram(piece) == pytest.approx(expected)


@given(pieces())
def test_transposing_the_pitched_tracks_changes_nothing(piece: Piece) -> None:
    pitched = [t for t in piece.tracks if t.instrument != DRUMS]
    highest = max((int(t.pitch.max()) for t in pitched), default=0)
    by = -7 if highest > 120 else 7
    if min((int(t.pitch.min()) for t in pitched), default=99) + by < 0:
        return
    moved = Piece(
        piece.steps_per_quarter,
        piece.bars,
        tuple(
            t if t.instrument == DRUMS else Track(t.instrument, t.onset, t.end, t.pitch + by)
            for t in piece.tracks
        ),
    )
    for figure in measures.FIGURES.values():
        if figure is not measures.in_key:  # two keys may fit equally well
            assert figure(moved) == pytest.approx(figure(piece))
    for name in ("onset in the bar", "note length", "melodic interval", "harmonic interval class"):
        histogram = measures.HISTOGRAMS[name]
        assert histogram(moved) == pytest.approx(histogram(piece))


@given(pieces())
def test_histograms_are_shares_of_a_fixed_number_of_places(piece: Piece) -> None:
    places = {"pitch classes above the tonic": 12, "melodic interval": 25}
    places |= {"harmonic interval class": 7}
    for name, histogram in measures.HISTOGRAMS.items():
        shares = histogram(piece)
        assert shares.shape == (places.get(name, 4 * piece.steps_per_quarter),)
        assert shares.sum() == pytest.approx(1) or not shares.any()
