"""Encoding is the article's, decoding is its inverse."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_music.errors import TokenError, UsageError
from megatron_music.score.instruments import DRUMS, TENOR
from megatron_music.score.metre import METRES, TimeSignature
from megatron_music.score.midi_writer import write_midi
from megatron_music.score.music_file import parse_sung
from megatron_music.score.notes import Piece, Score
from megatron_music.score.quantize import quantize, windows
from megatron_music.tokenizer.codec import (
    decode,
    encode,
    from_text,
    note_rates,
    to_text,
    transpose,
)
from megatron_music.tokenizer.grammar import check
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary
from tests.music import BASS_LINE, bass_line, pieces, scores, sung_pieces, track

PLAIN = Vocabulary(TokenizerSettings(density=False))
DENSE = Vocabulary(TokenizerSettings(density=True))


def text(piece: Piece, vocabulary: Vocabulary = PLAIN) -> str:
    return to_text(encode(piece, vocabulary), vocabulary)


def bar(words: str) -> str:
    return f"PIECE_START TRACK_START INST=0 {words} TRACK_END PIECE_END"


def test_the_articles_own_bar_is_spelt_as_in_the_article() -> None:
    assert text(bass_line()) == BASS_LINE
    assert decode(from_text(BASS_LINE, PLAIN), PLAIN) == bass_line()


@settings(deadline=None)
@given(scores(), st.sampled_from([4, 12]), st.sampled_from([1, 4, 8, 16]), st.booleans())
def test_decoding_undoes_encoding_window_by_window(
    score: Score, steps: int, bars: int, density: bool
) -> None:
    vocabulary = Vocabulary(TokenizerSettings(steps, density))
    for window in windows(quantize(score, steps), bars, bars):
        assert decode(encode(window, vocabulary), vocabulary) == window


@pytest.mark.parametrize(
    ("piece", "words"),
    [
        # A NOTE_OFF on a barline belongs to the bar that it ends.
        (Piece(4, 2, (track(0, (12, 16, 60), (16, 32, 62)),)),
         bar("BAR_START TIME_DELTA=12 NOTE_ON=60 TIME_DELTA=4 NOTE_OFF=60 BAR_END "
             "BAR_START NOTE_ON=62 TIME_DELTA=16 NOTE_OFF=62 BAR_END")),
        # A note longer than a bar ends in a later one, and empty bars stay.
        (Piece(4, 4, (track(0, (8, 40, 60), (60, 64, 60)),)),
         bar("BAR_START TIME_DELTA=8 NOTE_ON=60 BAR_END BAR_START BAR_END "
             "BAR_START TIME_DELTA=8 NOTE_OFF=60 BAR_END "
             "BAR_START TIME_DELTA=12 NOTE_ON=60 TIME_DELTA=4 NOTE_OFF=60 BAR_END")),
        # At one step offs come before ons.
        (Piece(4, 1, (track(0, (0, 4, 60), (0, 4, 67), (4, 8, 60), (4, 8, 64)),)),
         bar("BAR_START NOTE_ON=60 NOTE_ON=67 TIME_DELTA=4 NOTE_OFF=60 NOTE_OFF=67 "
             "NOTE_ON=60 NOTE_ON=64 TIME_DELTA=4 NOTE_OFF=60 NOTE_OFF=64 BAR_END")),
        # Tracks have the same bars and keep their order.
        (Piece(4, 2, (track(DRUMS, (0, 1, 36)), track(TENOR, (16, 32, 60)))),
         "PIECE_START TRACK_START INST=DRUMS BAR_START NOTE_ON=36 TIME_DELTA=1 NOTE_OFF=36 BAR_END "
         "BAR_START BAR_END TRACK_END TRACK_START INST=TENOR BAR_START BAR_END "
         "BAR_START NOTE_ON=60 TIME_DELTA=16 NOTE_OFF=60 BAR_END TRACK_END PIECE_END"),
    ],
)  # fmt: skip
def test_a_piece_is_spelt_bar_by_bar(piece: Piece, words: str) -> None:
    assert text(piece) == words


@pytest.mark.parametrize(("notes", "level"), [(1, 1), (2, 2), (5, 4), (18, 9), (30, 9)])
def test_density_is_the_number_of_edges_at_or_below_the_notes_a_bar(notes: int, level: int) -> None:
    chord = track(0, *[(0, 4, 40 + i) for i in range(notes)])
    piece = Piece(4, 1, (chord,))
    assert note_rates(piece).tolist() == [notes]
    assert f"INST=0 DENSITY={level} BAR_START" in text(piece, DENSE)


@given(pieces(), st.integers(-12, 12))
def test_transposing_tokens_is_transposing_notes(piece: Piece, semitones: int) -> None:
    vocabulary = Vocabulary(TokenizerSettings(piece.steps_per_quarter))
    moved = transpose(encode(piece, vocabulary), semitones, vocabulary)
    shifts = [0 if t.instrument == DRUMS else semitones for t in piece.tracks]
    pitches = [t.pitch + shift for t, shift in zip(piece.tracks, shifts, strict=True)]
    if min(p.min() for p in pitches) < 0 or max(p.max() for p in pitches) > 127:
        assert moved is None
    else:
        assert moved is not None
        again = decode(moved, vocabulary)
        for t, pitch in zip(again.tracks, pitches, strict=True):
            assert t.pitch.tolist() == pitch.tolist()


def test_a_piece_may_stop_at_a_whole_track_but_not_inside_one() -> None:
    words = BASS_LINE.split()
    assert decode(from_text(" ".join(words[:-1]), PLAIN), PLAIN) == bass_line()
    with pytest.raises(TokenError, match="stops early") as caught:
        decode(from_text(" ".join(words[:-2]), PLAIN), PLAIN)
    assert caught.value.position == len(words) - 2


@pytest.mark.parametrize(
    ("words", "position", "told"),
    [
        ("PIECE_START TRACK_START INST=BASSOON", 2, r"token 2: 'INST=BASSOON'"),
        ("TIME_DELTA=17", 0, "TIME_DELTA=17"),  # a time of the finer grid
    ],
)
def test_a_word_that_is_not_a_token_is_named_with_its_place(
    words: str, position: int, told: str
) -> None:
    with pytest.raises(TokenError, match=told) as caught:
        from_text(words, PLAIN)
    assert caught.value.position == position


WALTZ = (
    "PIECE_START METRE=3/4 TRACK_START INST=0 "
    "BAR_START NOTE_ON=60 BAR_END "
    "METRE=2/4 BAR_START TIME_DELTA=4 NOTE_OFF=60 BAR_END "
    "BAR_START NOTE_ON=62 TIME_DELTA=8 NOTE_OFF=62 BAR_END TRACK_END PIECE_END"
)


def test_a_metre_is_at_the_head_and_where_it_changes() -> None:
    vocabulary = Vocabulary(TokenizerSettings(density=False, metres=("2/4", "3/4")))
    piece = decode(from_text(WALTZ, vocabulary), vocabulary)
    assert list(map(str, piece.metres)) == ["3/4", "2/4", "2/4"]
    assert piece.bar_starts.tolist() == [0, 12, 20, 28]
    assert piece.tracks[0].end.tolist() == [16, 28]
    assert to_text(encode(piece, vocabulary), vocabulary) == WALTZ


LOUD = (
    "PIECE_START TEMPO=120 TRACK_START INST=0 "
    "BAR_START VELOCITY=88 NOTE_ON=60 VELOCITY=40 NOTE_ON=64 TIME_DELTA=4 NOTE_OFF=60 NOTE_ON=62 "
    "TIME_DELTA=4 NOTE_OFF=62 NOTE_OFF=64 BAR_END "
    "TEMPO=60 BAR_START VELOCITY=40 NOTE_ON=62 TIME_DELTA=16 NOTE_OFF=62 BAR_END "
    "TRACK_END PIECE_END"
)


def test_velocities_come_where_they_change_and_in_each_bar() -> None:
    vocabulary = Vocabulary(TokenizerSettings(density=False, velocity=8, tempo=True))
    piece = decode(from_text(LOUD, vocabulary), vocabulary)
    assert piece.tracks[0].velocity.tolist() == [88, 40, 40, 40]
    assert piece.tempos_us == (500_000, 1_000_000)
    assert to_text(encode(piece, vocabulary), vocabulary) == LOUD


@given(
    pieces(metres=True, expressive=True), st.booleans(), st.sampled_from([0, 8, 32]), st.booleans()
)
def test_metres_velocities_and_tempi_are_read_back(
    piece: Piece, density: bool, levels: int, tempo: bool
) -> None:
    metres = tuple(map(str, METRES))
    vocabulary = Vocabulary(
        TokenizerSettings(
            piece.steps_per_quarter, density, metres=metres, velocity=levels, tempo=tempo
        )
    )
    tokens = encode(piece, vocabulary)
    again = decode(from_text(to_text(tokens, vocabulary), vocabulary), vocabulary)
    assert again == piece
    assert encode(again, vocabulary).tolist() == tokens.tolist()
    width = 128 // levels if levels else 256
    for one, before in zip(again.tracks, piece.tracks, strict=True):
        assert (abs(one.loudness - before.loudness) <= width // 2).all() or not levels


def test_a_metre_that_the_vocabulary_lacks_is_named() -> None:
    piece = Piece(4, 1, (track(0, (0, 4, 60)),), (TimeSignature(3, 4),))
    with pytest.raises(UsageError, match=r"3/4.*it has 4/4"):
        encode(piece, Vocabulary(TokenizerSettings()))


SUNG = Vocabulary(TokenizerSettings(density=False, lyrics=True, syllable_pieces=("ü", "de")))


def test_a_syllable_follows_its_note() -> None:
    sung = replace(
        track(0, (0, 4, 60), (4, 8, 62), (4, 8, 65)), syllables=np.array(["Grün", "", "de\n"])
    )
    assert text(Piece(4, 1, (sung,)), SUNG) == bar(
        "BAR_START NOTE_ON=60 SYLLABLE=G SYLLABLE=r SYLLABLE=ü SYLLABLE=n "
        "TIME_DELTA=4 NOTE_OFF=60 NOTE_ON=62 NOTE_ON=65 SYLLABLE=de SYLLABLE=LINE_END "
        "TIME_DELTA=4 NOTE_OFF=62 NOTE_OFF=65 BAR_END"
    )


@settings(deadline=None)
@given(sung_pieces())
def test_tokens_with_words_to_midi_and_back_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, piece: Piece
) -> None:
    tokens = encode(piece, SUNG)
    check(tokens, SUNG)
    path = tmp_path_factory.mktemp("midi") / "piece.mid"
    write_midi(decode(tokens, SUNG), path)
    again = quantize(parse_sung(path.read_bytes(), "piece.mid").score, 4)
    assert encode(replace(again, bars=piece.bars), SUNG).tolist() == tokens.tolist()


@settings(deadline=None)
@given(sung_pieces())
def test_without_lyrics_the_tokens_of_a_sung_piece_are_those_of_its_notes(piece: Piece) -> None:
    silent = replace(piece, tracks=tuple(replace(one, syllables=None) for one in piece.tracks))
    assert encode(piece, PLAIN).tolist() == encode(silent, PLAIN).tolist()
