"""Keys: said in words, found in music, and kept to by what is composed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from megatron_music.errors import UsageError
from megatron_music.generate.composer import Composer
from megatron_music.generate.sampler import KeyProcessor
from megatron_music.generate.session import Session
from megatron_music.generate.song_key import Key, key_of, parse_key
from megatron_music.generate.song_request import Request
from megatron_music.score.instruments import DRUMS
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary
from tests.music import track


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ("C major", Key(0, "major")),
        ("c", Key(0, "major")),
        ("F# minor", Key(6, "minor")),
        ("f♯ min", Key(6, "minor")),
        ("Am", Key(9, "minor")),
        ("Bb major", Key(10, "major")),
        ("E-flat major", Key(3, "major")),
        ("Cb", Key(11, "major")),
    ],
)
def test_a_key_is_read_as_people_write_it(said: str, key: Key) -> None:
    assert parse_key(said) == key
    assert parse_key(str(key)) == key


@pytest.mark.parametrize(
    ("said", "name"),
    [("C# minor", "C♯ minor"), ("Ab minor", "G♯ minor"), ("C# major", "D♭ major")],
)
def test_a_key_is_spelled_with_few_accidentals(said: str, name: str) -> None:
    assert str(parse_key(said)) == name


@pytest.mark.parametrize("said", ["H major", "C dorian", "", "major"])
def test_a_word_that_is_not_a_key_is_refused(said: str) -> None:
    with pytest.raises(UsageError, match="`key` must be as in 'C major'"):
        Request(key=said)


def test_the_share_of_a_key_counts_how_long_notes_sound() -> None:
    piece = Piece(4, 1, (track(0, (0, 12, 60), (12, 16, 61)), track(DRUMS, (0, 16, 61))))
    assert parse_key("C major").share(piece) == 0.75


@pytest.mark.parametrize(("tonic", "name"), [(0, "A minor"), (2, "B minor"), (3, "C minor")])
def test_the_key_of_a_scale_is_found(tonic: int, name: str) -> None:
    scale = np.array([57, 59, 60, 62, 64, 65, 68, 69, 57, 57, 64]) + tonic
    rows = [(2 * i, 2 * i + 2, int(pitch)) for i, pitch in enumerate(scale)]
    assert key_of(Piece(4, 2, (track(0, *rows),))) == name


def test_drums_have_no_key() -> None:
    assert key_of(Piece(4, 1, (track(DRUMS, (0, 1, 36)),))) == ""


@pytest.mark.parametrize("key", ["C major", "E minor"])
def test_a_song_from_nothing_keeps_to_its_key(open_model: Path, key: str) -> None:
    wish = Request(2, bars=2, instruments=("piano", "DRUMS"), temperature=5.0, top_p=1.0, key=key)
    free = [song.piece for song in Composer.load(open_model).compose(replace(wish, key=None))]
    kept = [song.piece for song in Composer.load(open_model).compose(wish)]
    scale = parse_key(key).scale
    assert all(scale[piece.tracks[0].pitch % 12].all() for piece in kept)
    assert not all(scale[piece.tracks[0].pitch % 12].all() for piece in free)
    drums = np.concatenate([piece.tracks[1].pitch for piece in kept])
    assert not scale[drums % 12].all()


def test_a_key_makes_notes_no_rarer() -> None:
    vocabulary = Vocabulary(TokenizerSettings())
    scores = torch.full((1, len(vocabulary)), float("-inf"), dtype=torch.float64)
    shares = {"NOTE_ON=60": 0.1, "NOTE_ON=61": 0.5, "NOTE_ON=64": 0.2, "BAR_END": 0.2}
    for token, share in shares.items():
        scores[0, vocabulary.ids[token]] = np.log(share)
    start = torch.tensor([[vocabulary.piece_start]])
    kept = KeyProcessor(parse_key("C major"), vocabulary, 1)(start, scores).softmax(-1)[0]
    assert float(kept[vocabulary.bar_end]) == pytest.approx(0.2)
    assert float(kept[vocabulary.ids["NOTE_ON=61"]]) == 0


def test_bars_that_are_filled_keep_to_their_key(hearing_fill_model: Path) -> None:
    piece = Piece(4, 4, (track(DRUMS, (0, 4, 37), (32, 36, 37)), track(0, (0, 64, 61))))
    session = Session(Composer.load(hearing_fill_model), piece)
    wish = {"fill_bars": (2, 3), "temperature": 5.0, "top_p": 1.0, "key": "C major", "count": 2}
    scale = parse_key("C major").scale
    for song in session.fill(**wish):
        new = song.piece.tracks[1]
        inside = (new.onset >= 16) & (new.onset < 48)
        assert scale[new.pitch[inside] % 12].all()
        assert 61 in new.pitch
