"""Whether labels change the music: what a classifier finds in real music and in songs."""

from pathlib import Path

import numpy as np

from megatron_music.evaluate.corpus import SplitWindows
from megatron_music.evaluate.label_accuracy import FEWEST_WINDOWS, label_rows
from megatron_music.generate.composer import Composer
from megatron_music.generate.song_request import Request
from megatron_music.progress import silent
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.codec import encode
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary
from tests.generate.conftest import untrained
from tests.music import track

WORDS = ("BY=UNKNOWN", "BY=QUICK", "BY=SLOW", "ERA=UNKNOWN", "ERA=NOW")
SETTINGS = TokenizerSettings(bars=2, attributes=WORDS)
VOCABULARY = Vocabulary(SETTINGS)


def windows(count: int, seed: int) -> SplitWindows:
    """Return as many windows of quick music as of slow music, five of each piece."""
    stream = np.random.default_rng(seed)
    tokens = []
    for number in range(2 * count):
        length = 2 if number % 2 else 8
        rows = [(at, at + length, int(stream.integers(60, 72))) for at in range(0, 32, length)]
        music = encode(Piece(4, 2, (track(0, *rows),)), VOCABULARY)
        labels = [
            VOCABULARY.ids["BY=QUICK" if number % 2 else "BY=SLOW"],
            VOCABULARY.ids["ERA=NOW"],
        ]
        tokens.append(np.insert(music, 1, labels).astype(np.uint16))
    groups = np.arange(2 * count, dtype=np.int64) // 10
    return SplitWindows(tuple(tokens), groups, np.full((2 * count, 2), -1, np.int32))


def test_real_music_is_classified_and_songs_of_random_weights_are_not(tmp_path: Path) -> None:
    composer = Composer.load(untrained(tmp_path, SETTINGS))
    rows = label_rows(composer, Request(20), windows(FEWEST_WINDOWS, 1), windows(10, 2), silent)
    quick, slow = rows
    assert {quick.label, slow.label} == {"QUICK", "SLOW"}
    for row in (quick, slow):
        assert (row.family, row.training, row.held_out, row.songs) == ("BY", 20, 10, 10)
        assert row.real.value == 1
    assert quick.composed.value + slow.composed.value < 1.5


def test_labels_of_too_few_windows_are_left_out(tmp_path: Path) -> None:
    composer = Composer.load(untrained(tmp_path, SETTINGS))
    rows = label_rows(composer, Request(20), windows(FEWEST_WINDOWS - 1, 1), windows(10, 2), silent)
    assert rows == []
