"""Every figure of a piece, worked by hand."""

import numpy as np
import pytest
from hypothesis import given

from megatron_music.evaluate import measures
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


def test_the_figures_of_the_articles_bass_line() -> None:
    piece = bass_line()  # 61 59 58 56 54 in 4, 2, 2, 4, 4 sixteenths
    assert measures.notes_per_bar(piece) == 5
    assert measures.polyphony(piece) == 1
    assert measures.pitch_range(piece) == 7
    assert measures.note_length(piece) == pytest.approx(16 / 5 / 4)
    assert measures.melodic_interval(piece) == pytest.approx((2 + 1 + 2 + 2) / 4)


def test_notes_that_sound_together_count_by_the_step_and_drums_have_no_pitch() -> None:
    piece = duet()
    assert measures.notes_per_bar(piece) == 5
    assert measures.polyphony(piece) == 2
    assert measures.pitch_range(piece) == 67 - 48
    # C3 with E4 is a major third (class 4), with G4 a fifth (class 5), half the bar each.
    assert measures.harmony_histogram(piece).tolist() == [0, 0, 0, 0, 0.5, 0.5, 0]


def test_silence_between_notes_does_not_thin_the_polyphony() -> None:
    piece = Piece(4, 2, (track(0, (0, 4, 60), (0, 4, 64), (0, 4, 67)),))
    assert measures.polyphony(piece) == 3


def test_rests_are_the_silent_time_of_the_pitched_tracks() -> None:
    # Of one bar one track sounds in three quarters, the other throughout.
    quarter = Piece(4, 1, (track(0, (0, 4, 60), (4, 12, 62)), track(1, (0, 16, 48))))
    assert measures.rests(quarter) == pytest.approx((1 / 4 + 0) / 2)
    assert measures.rests(duet()) == 0


def test_bars_that_stop_before_the_barline_end_silent() -> None:
    # Three bars: one full, one that stops after its third quarter, one that begins late.
    notes = track(0, (0, 16, 60), (16, 28, 62), (36, 48, 64))
    assert measures.silent_ends(Piece(4, 3, (notes,))) == pytest.approx(1 / 3)
    both = Piece(4, 3, (notes, track(1, (0, 48, 48)), track(DRUMS, (0, 1, 36))))
    assert measures.silent_ends(both) == pytest.approx(1 / 6)


def test_onsets_fall_on_steps_of_the_bar() -> None:
    histogram = measures.onset_histogram(duet())
    assert histogram[0] == 3 / 5
    assert histogram[8] == 2 / 5
    assert histogram.sum() == 1


def test_lengths_count_up_to_a_bar() -> None:
    piece = Piece(4, 2, (track(0, (0, 1, 60), (1, 3, 62), (3, 32, 64)),))
    histogram = measures.length_histogram(piece)
    assert [histogram[0], histogram[1], histogram[15]] == pytest.approx([1 / 3] * 3)


def test_intervals_follow_the_upper_line_of_each_track() -> None:
    # Chords C4-E4, then G4 alone, then B2: E4 to G4 is +3, G4 to B2 is -20, counted as -12.
    piece = Piece(4, 1, (track(0, (0, 4, 60), (0, 4, 64), (4, 8, 67), (8, 12, 47)),))
    histogram = measures.interval_histogram(piece)
    assert histogram[12 + 3] == 0.5
    assert histogram[0] == 0.5


def test_two_bars_groove_alike_in_the_steps_they_agree_on() -> None:
    # Onsets at steps 0 and 8 of bar 1, 0 and 4 of bar 2: of 16 steps, 4 and 8 differ.
    piece = Piece(4, 2, (track(0, (0, 4, 60), (8, 12, 60), (16, 20, 60), (20, 24, 60)),))
    assert measures.groove_similarity(piece) == 14 / 16
    assert measures.groove_similarity(bass_line()) == 1


def test_minor_seconds_are_counted_in_any_octave() -> None:
    # C4 with B4 for a bar, then with E4: of two intervals a bar long, one is a major seventh.
    piece = Piece(4, 2, (track(0, (0, 32, 60)), track(1, (0, 16, 71), (16, 32, 64))))
    assert measures.minor_seconds(piece) == 0.5


@pytest.mark.parametrize("tonic", range(12))
def test_a_major_scale_is_in_its_key_in_all_keys(tonic: int) -> None:
    # The scale and its triad: C D E F G A B C, C E G C.
    piece = scale(*(pitch + tonic for pitch in (*C_MAJOR_SCALE, 60, 64, 67, 72)))
    sounding = np.bincount([p % 12 for p in piece.tracks[0].pitch], minlength=12) / 12
    assert measures.likeliest_key(sounding) == (tonic, True)
    assert measures.in_key(piece) == pytest.approx(1)
    expected = np.array([4, 0, 1, 0, 2, 1, 0, 2, 0, 1, 0, 1]) / 12
    assert measures.pitch_class_histogram(piece) == pytest.approx(expected)


def test_a_minor_scale_with_its_leading_note_is_in_its_key() -> None:
    piece = scale(57, 59, 60, 62, 64, 65, 68, 69, 57, 60, 64, 69)  # A minor and its triad
    assert measures.in_key(piece) == pytest.approx(1)
    assert measures.pitch_class_histogram(piece)[0] == pytest.approx(4 / 12)


def test_a_note_outside_the_scale_is_counted() -> None:
    piece = scale(*C_MAJOR_SCALE, 60, 64, 67, 66)
    assert measures.in_key(piece) == pytest.approx(11 / 12)


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


def test_a_piece_of_drums_alone_has_no_pitch_to_measure() -> None:
    piece = Piece(4, 1, (track(DRUMS, (0, 1, 36)),))
    assert measures.polyphony(piece) == 0
    assert measures.in_key(piece) == 0
    assert not measures.pitch_class_histogram(piece).any()
    assert measures.onset_histogram(piece)[0] == 1
