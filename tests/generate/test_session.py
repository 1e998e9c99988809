"""A session continues, fills and varies a piece; what is kept is kept to the note."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from megatron_music.errors import UsageError
from megatron_music.generate.composer import Composer
from megatron_music.generate.session import Session
from megatron_music.score.hashing import scramble
from megatron_music.score.instruments import BASS, DRUMS, SOPRANO, VOICES, instrument_name
from megatron_music.score.midi_writer import write_midi
from megatron_music.score.notes import Piece
from tests.generate.conftest import CHORALE
from tests.music import bars_not_full, names, notes, track

STEPS = 16


def notes_before(piece: Piece, bars: int) -> list[set[tuple[int, int, int]]]:
    """Return the notes of each track that begin in the first bars."""
    return [{row for row in notes(one) if row[0] < bars * STEPS} for one in piece.tracks]


@pytest.fixture(scope="module")
def session(chorale_model: Path) -> Session:
    """A session at a chorale of four bars."""
    session = Session.load(chorale_model)
    return session.keep(session.compose(seed=3)[0])


def test_a_piece_is_continued_far_beyond_the_window(session: Session) -> None:
    assert session.piece is not None
    for song in session.continue_piece(count=2, bars=21):
        assert song.piece.bars == 21
        assert notes_before(song.piece, 4) == notes_before(session.piece, 4)
        assert all(one.onset.max() >= 16 * STEPS for one in song.piece.tracks)


def test_the_first_bars_of_some_tracks_are_kept_and_others_are_added(session: Session) -> None:
    assert session.piece is not None
    wish = {
        "prompt_bars": 2,
        "drop": ("BASS",),
        "instruments": ("DRUMS", "Electric Bass (finger)"),
        "bars": 6,
    }
    (song,) = session.continue_piece(**wish)
    assert names(song.piece) == ["SOPRANO", "ALTO", "TENOR", "DRUMS", "33"]
    assert notes_before(song.piece, 2)[:3] == notes_before(session.piece, 2)[:3]


def test_a_chorale_that_lacks_a_voice_is_given_one_and_another_piece_is_not(
    session: Session,
) -> None:
    (song,) = session.continue_piece(drop=("BASS",), bars=4)
    assert names(song.piece) == list(CHORALE)
    piece = Piece(4, 1, (track(0, (0, 8, 70)), track(0, (0, 16, 40))))
    (song,) = Session(session.composer, piece).continue_piece(bars=2)
    assert names(song.piece) == ["0", "0"]


def test_a_share_of_the_bars_varies_and_each_song_varies_others(session: Session) -> None:
    assert session.piece is not None
    old = notes_before(session.piece, 4)
    changed = []
    for song in session.vary(0.25, count=4, temperature=5.0):
        new = notes_before(song.piece, 4)
        cells = {(t, row[0] // STEPS) for t in range(4) for row in new[t] ^ old[t]}
        assert 1 <= len(cells) <= 4
        changed.append(frozenset(cells))
    assert len(set(changed)) > 1


def test_a_song_number_is_the_same_song_alone_and_in_any_batch(session: Session) -> None:
    ids = (123456789, 5, 2**40)
    for work in (
        lambda **wish: session.compose(bars=5, **wish),
        lambda **wish: session.vary(0.5, **wish),
        lambda **wish: session.continue_piece(bars=6, **wish),
    ):
        together = {song.seed: song.tokens for song in work(song_ids=ids)}
        for number in ids:
            (alone,) = work(song_ids=(number,))
            assert alone.tokens == together[number]


@pytest.mark.parametrize(
    ("full_bars", "expected"),
    [
        (True, [("SOPRANO", [1, 30], [90, 7]), ("ALTO", [0, 30], [49, 43]),
                ("TENOR", [10, 31], [83, 59]), ("BASS", [0, 18, 31], [85, 77, 30])]),
        (False, [("SOPRANO", [24], [122]), ("ALTO", [16, 18, 28, 31], [53, 88, 102, 35]),
                 ("TENOR", [0], [63]), ("BASS", [0], [74])]),
    ],
)  # fmt: skip
def test_a_number_means_the_same_song_for_ever(
    chorale_model: Path, full_bars: bool, expected: list[tuple[str, list[int], list[int]]]
) -> None:
    """If this fails, numbers have come to mean other songs: that breaks a promise."""
    session = Session.load(chorale_model)
    with torch.no_grad():
        for weights in session.composer.model.parameters():
            words = scramble(np.arange(weights.numel(), dtype=np.uint64)) >> np.uint64(40)
            values = words.astype(np.float64) / 2**24 - 0.5
            weights.copy_(torch.from_numpy(values).reshape(weights.shape))
    wish = {"song_ids": (123456789,), "bars": 2, "temperature": 8.0, "full_bars": full_bars}
    (song,) = session.compose(**wish)
    rows = [
        (instrument_name(one.instrument), one.onset.tolist(), one.pitch.tolist())
        for one in song.piece.tracks
    ]
    assert rows == expected


def test_a_piece_whose_bars_end_silent_is_continued_by_full_ones(chorale_model: Path) -> None:
    rests = tuple(track(code, (0, 4, 60), (20, 23, 60)) for code in VOICES)
    session = Session(Composer.load(chorale_model), Piece(4, 3, rests))
    for song in session.continue_piece(count=4, bars=9):
        for one, old in zip(song.piece.tracks, notes_before(song.piece, 3), strict=True):
            assert old == {(0, 4, 60), (20, 23, 60)}
            assert bars_not_full(one, song.piece) == {0, 1, 2}


def test_a_session_begins_from_a_file(chorale_model: Path, tmp_path: Path) -> None:
    piece = Piece(4, 2, (track(SOPRANO, (0, 8, 70)), track(BASS, (0, 32, 40))))
    write_midi(piece, tmp_path / "mine.mid")
    session = Session.load(chorale_model, tmp_path / "mine.mid")
    assert session.piece == piece
    (song,) = session.continue_piece(bars=4)
    assert sorted(one.instrument for one in song.piece.tracks) == sorted(VOICES)


def test_a_track_is_dropped_though_nothing_is_composed(chorale_model: Path) -> None:
    tracks = (track(SOPRANO, (0, 8, 70)), track(BASS, (0, 32, 40)))
    session = Session(Composer.load(chorale_model), Piece(4, 2, tracks))
    (song,) = session.continue_piece(drop=("BASS",), instruments=())
    assert song.piece == Piece(4, 2, tracks[:1])


@pytest.mark.parametrize(
    ("act", "wish"),
    [
        ("compose", {"bars": "x"}),
        ("compose", {"barz": 4}),
        ("compose", {"seed": 1.5}),
        ("compose", {"instruments": "ALTO"}),
        ("compose", {"instruments": {"ALTO", "BASS"}}),  # its order changes from run to run
        ("compose", {"density": 5}),
        ("compose", {"key": 3}),
        ("fill", {"fill_bars": "3"}),
        ("vary", {"share": "a lot"}),
        ("harmonise", {"voice": 3}),
        ("keep", {"piece": 3}),
    ],
)
def test_a_wish_of_another_type_is_named(session: Session, act: str, wish: dict[str, Any]) -> None:
    (name,) = wish
    with pytest.raises(UsageError, match=rf"^.*`{name}`.*$"):
        getattr(session, act)(**wish)


@pytest.mark.parametrize(
    ("act", "wish", "message"),
    [
        ("continue_piece", {"bars": 2}, "`bars` is 2, but 4 are kept"),
        (
            "continue_piece",
            {"bars": 4},
            "nothing to compose: the piece has 4 bars and no track is added",
        ),
        ("continue_piece", {"prompt_bars": 5}, "`prompt_bars` is 5, but the piece has 4"),
        ("continue_piece", {"drop": ("DRUMS",)}, "no track 'DRUMS'; .* has SOPRANO, ALTO"),
        ("continue_piece", {"drop": CHORALE, "instruments": ()}, "nothing of the piece is kept"),
        ("continue_piece", {"fill_bars": (1,)}, "call fill, vary or harmonise"),
        ("continue_piece", {"metre": "3/4"}, r"`metre` \(got 3/4\) is for songs from nothing"),
        ("fill", {}, "nothing to fill"),
        ("fill", {"fill_bars": (5,)}, r"bars 1..4 \(got 5\)"),
        ("fill", {"fill_bars": (1,), "bars": 8}, "filling keeps the 4 bars"),
        ("vary", {"prompt_bars": 2}, "leave out `bars`, `prompt_bars`"),
        ("vary", {"tracks": 5}, r"`tracks` \(got 5\) is for songs from nothing"),
        ("vary", {"share": 1.5}, r"`vary` must be in \(0, 1\] \(got 1.5\)"),
        ("vary", {"fill_bars": (1,)}, "`vary` chooses the bars itself"),
        ("compose", {"vary": 0.5}, "needs a piece to begin from"),
        ("compose", {"attributes": ("GENRE=JAZZ",)}, "no attribute 'GENRE=JAZZ'; its data had"),
        ("compose", {"density": ("10",)}, r"`density` must be 0..9 .*got '10'"),
        ("compose", {"tracks": 2, "instruments": ("piano",)}, "`tracks` is 2, but 1 instruments"),
        ("compose", {"song_ids": (1, 1)}, "a song id is given twice"),
    ],
)
def test_what_cannot_be_done_is_refused(
    session: Session, act: str, wish: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        getattr(session, act)(**wish)


def test_what_a_model_has_not_learnt_is_refused(open_model: Path) -> None:
    session = Session.load(open_model)
    with pytest.raises(UsageError, match="trained without DENSITY"):
        session.compose(density=("3",))
    with pytest.raises(UsageError, match="grid of 4 steps a quarter, the model on 12"):
        session.keep(Piece(4, 1, (track(DRUMS, (0, 8, 36)),))).vary()
