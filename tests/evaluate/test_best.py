"""The songs that look most like a model's own real music come first."""

from pathlib import Path

import numpy as np
import pytest

from megatron_music.errors import CheckpointError, UsageError
from megatron_music.evaluate.best import (
    REAL_MUSIC_FILE,
    RealMusic,
    best_of,
    measures,
    real_music,
)
from megatron_music.evaluate.critic import features
from megatron_music.generate.song import Song
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary
from tests.evaluate.test_critic import melody
from tests.evaluate.test_voices import NAMES, choir

VOCABULARY = Vocabulary(TokenizerSettings(bars=2))
STEPS, LEAPS = 2, 9


def real() -> RealMusic:
    return RealMusic(features([melody(seed, STEPS) for seed in range(40)]))


def test_steps_are_chosen_where_real_music_moves_by_steps() -> None:
    songs = [Song(seed, melody(seed, STEPS if seed % 4 == 0 else LEAPS), ()) for seed in range(32)]
    chosen = best_of(songs, 4, real(), VOCABULARY)
    assert len(chosen) == 4
    assert all(song.seed % 4 == 0 for song in chosen)


def test_songs_that_are_to_end_close_on_the_tonic() -> None:
    voices = Vocabulary(TokenizerSettings(bars=1, ensemble=NAMES))
    tonic, dominant = (72, 67, 64, 48), (71, 67, 62, 55)
    open_, closed = choir(tonic, tonic, tonic, dominant), choir(tonic, tonic, dominant, tonic)
    songs = [Song(seed, closed if seed == 9 else open_, ()) for seed in range(16)]
    critic = RealMusic(measures([open_] * 12, voices))
    assert 9 not in [song.seed for song in best_of(songs, 15, critic, voices)]
    assert best_of(songs, 2, critic, voices, closing=True)[0].seed == 9


def test_a_song_that_crosses_voices_comes_last_even_if_all_else_is_as_in_real_music() -> None:
    voices = Vocabulary(TokenizerSettings(bars=1, ensemble=NAMES))
    chord, crossed, minor = (72, 67, 64, 48), (67, 72, 64, 48), (72, 67, 63, 48)
    composed, alike = choir(minor, minor, minor, minor), choir(chord, chord, chord, crossed)
    songs = [Song(seed, alike if seed == 3 else composed, ()) for seed in range(16)]
    critic = RealMusic(measures([choir(chord, chord, chord, chord)] * 12, voices))
    assert best_of(songs, 16, critic, voices)[-1].seed == 3


def test_an_exported_folder_carries_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name the data with --data"):
        real_music(tmp_path, None, VOCABULARY)
    real().save(tmp_path)
    carried = real_music(tmp_path, None, VOCABULARY)
    np.testing.assert_allclose(carried.rows, real().rows, rtol=1e-6)
    (tmp_path / REAL_MUSIC_FILE).write_bytes(b"\x80\x04")
    with pytest.raises(CheckpointError, match="damaged"):
        real_music(tmp_path, None, VOCABULARY)
