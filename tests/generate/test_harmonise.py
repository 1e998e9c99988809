"""One voice is kept to the note, and what the model composes around it hears it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from megatron_music.errors import UsageError
from megatron_music.generate.composer import Composer
from megatron_music.generate.harmonise import kept_voice
from megatron_music.generate.prompt import Prompt
from megatron_music.generate.session import Session
from megatron_music.score.instruments import ALTO, BASS, DRUMS, SOPRANO, TENOR
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.vocabulary import load_vocabulary
from tests.generate.conftest import CHORALE
from tests.music import names, notes, track

TUNE = tuple((step, step + 4, 72 + step // 4 % 5) for step in range(0, 9 * 16, 4))
MELODY = Piece(4, 9, (track(0, *TUNE),))
BAND = Piece(
    4,
    2,
    (
        track(40, (0, 16, 70), (16, 32, 71)),
        track(33, (0, 32, 40)),
        track(DRUMS, (0, 1, 36)),
        track(40, (4, 8, 60)),
    ),
)


@pytest.mark.parametrize("voice", CHORALE)
def test_any_voice_is_kept_and_the_choir_sings_around_it(hearing_model: Path, voice: str) -> None:
    session = Session(Composer.load(hearing_model), MELODY)
    (song,) = session.harmonise(voice, prompt_bars=2)
    assert names(song.piece) == list(CHORALE)
    assert song.piece.bars == 2
    kept = song.piece.tracks[CHORALE.index(voice)]
    assert notes(kept) == [row for row in TUNE if row[0] < 32]
    assert all(one.end.max() == 32 for one in song.piece.tracks)


def test_a_tune_of_many_windows_is_harmonised_to_its_last_bar(chorale_model: Path) -> None:
    session = Session(Composer.load(chorale_model), MELODY)
    for song in session.harmonise("SOPRANO", count=2):
        assert song.piece.bars == 9
        assert notes(song.piece.tracks[0]) == list(TUNE)
        assert all(one.end.max() == 9 * 16 for one in song.piece.tracks)


@pytest.mark.parametrize("wish", [{}, {"instruments": ("piano", "violin", "DRUMS")}])
def test_one_track_of_a_band_is_kept(hearing_fill_model: Path, wish: dict[str, Any]) -> None:
    session = Session(Composer.load(hearing_fill_model), BAND)
    (song,) = session.harmonise("electric bass", **wish)
    others = ("0", "40", "DRUMS") if wish else ("40", "40", "DRUMS")
    assert sorted(names(song.piece)) == sorted(("33", *others))
    (kept,) = (one for one in song.piece.tracks if one.instrument == 33)
    assert notes(kept) == notes(BAND.tracks[1])


def test_a_track_is_taken_as_another_voice(chorale_model: Path, open_model: Path) -> None:
    choir, any_model = load_vocabulary(chorale_model), load_vocabulary(open_model)
    melody, band = Prompt.of(MELODY), replace(Prompt.of(BAND), names=("Lead", "", "", "Lead 2"))
    assert kept_voice(melody, "ALTO", choir) == (0, ALTO)
    assert kept_voice(band, "Lead=TENOR", choir) == (0, TENOR)
    assert kept_voice(band, "lead 2", any_model) == (3, 40)
    assert kept_voice(band, "track 2=BASS", choir) == (1, BASS)
    # A choir's voice is chosen by the pitches, where nothing is said.
    assert kept_voice(melody, "", choir) == (0, SOPRANO)
    assert kept_voice(melody, "", any_model) == (0, 0)
    assert kept_voice(band, "electric bass", choir) == (1, BASS)


@pytest.mark.parametrize(
    ("piece", "wish", "message"),
    [
        (BAND, {"voice": "SOPRANO"}, "no track 'SOPRANO'; it has Violin .track 1."),
        (BAND, {"voice": "DRUMS=BASS"}, "Drums cannot be taken as BASS"),
        (BAND, {"voice": ""}, "which track is to be kept"),
        (BAND, {"voice": "violn"}, "did you mean 'Violin'"),
        (BAND, {"voice": "DRUMS"}, "no pitches to harmonise"),
        (BAND, {"voice": "34=BASS", "drop": ("violin",)}, "leave out `drop`"),
        (BAND, {"voice": "34=BASS", "bars": 9}, "keeps the 2 bars"),
        (BAND, {"voice": "34=BASS", "instruments": ("BASS",)}, "BASS is kept of the piece"),
        (BAND, {"voice": "34=BASS", "vary": 0.5}, "leave out `vary`"),
        (Piece(4, 2, (track(0, (16, 32, 60)),)), {"voice": "BASS", "prompt_bars": 1}, "no note"),
    ],
)
def test_what_cannot_be_harmonised_is_refused(
    chorale_model: Path, piece: Piece, wish: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Session(Composer.load(chorale_model), piece).harmonise(**wish)


def test_nothing_around_a_lone_track_is_refused(open_model: Path) -> None:
    piece = Piece(12, 1, (track(0, (0, 8, 60)),))
    with pytest.raises(UsageError, match="nothing to compose around Acoustic Grand Piano; say"):
        Session(Composer.load(open_model), piece).harmonise()
