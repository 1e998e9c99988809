"""The windows of a data set, and what is known of their places."""

from collections import Counter
from pathlib import Path

import numpy as np

from megatron_music.data.build import build
from megatron_music.data.settings import BuildSettings
from megatron_music.data.sources.labels import folder_labels
from megatron_music.data.sources.open import labelled
from megatron_music.evaluate.corpus import (
    SplitWindows,
    closing_windows,
    read_labels,
    read_split,
    whole_windows,
)
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.codec import encode
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary, load_vocabulary
from tests.data.collection import Song, source_of
from tests.music import track

VOCABULARY = Vocabulary(TokenizerSettings(bars=2))


def window(bars: int, tracks: int = 2) -> Piece:
    return Piece(4, bars, tuple(track(code, (0, 4, 60)) for code in range(tracks)))


def windows(*places: tuple[Piece, int, int]) -> SplitWindows:
    """Lay out windows, each with the bars before it and those of its piece."""
    return SplitWindows(
        tuple(encode(piece, VOCABULARY) for piece, *_ in places),
        np.arange(len(places)),
        np.array([place for _, *place in places], np.int32),
    )


def test_windows_at_the_end_of_their_piece_are_found_short_ones_too() -> None:
    documents = windows(
        (window(2), 0, 5), (window(2), 3, 5), (window(1, 3), 4, 5), (window(2), -1, -1)
    )
    pieces, groups = closing_windows(documents, VOCABULARY)
    assert groups.tolist() == [1, 2]
    assert pieces == [window(2), window(1, 3)]


def test_whole_windows_have_all_their_bars() -> None:
    pieces, groups = whole_windows(windows((window(2), 0, 3), (window(1), 2, 3)), VOCABULARY)
    assert groups.tolist() == [0]
    assert pieces == [window(2)]


def test_windows_of_more_than_eight_bars_are_compared_in_parts() -> None:
    vocabulary = Vocabulary(TokenizerSettings(bars=16))
    held = [
        Piece(4, bars, (track(0, *((16 * bar, 16 * bar + 4, 60) for bar in range(bars))),))
        for bars in (16, 12, 7)
    ]
    documents = SplitWindows(
        tuple(encode(piece, vocabulary) for piece in held), np.array([3, 4, 5]), np.zeros((3, 2))
    )
    pieces, groups = whole_windows(documents, vocabulary)
    assert [piece.bars for piece in pieces] == [8, 8, 8]
    assert groups.tolist() == [3, 3, 4]


def test_each_label_has_windows_however_rare_it_is(tmp_path: Path) -> None:
    many = [Song(f"often/{seed}", seed) for seed in range(12)]
    source = labelled(source_of([*many, Song("once/0", 30)]), folder_labels())
    settings = BuildSettings(bars=1, split=(100, 0, 0), pieces=True)
    build(source, tmp_path / "set", settings)
    vocabulary = load_vocabulary(tmp_path / "set/tokenizer")

    def found(music: SplitWindows) -> Counter[str]:
        return Counter(vocabulary.tokens[tokens[1]] for tokens in music.tokens)

    assert found(read_split(tmp_path / "set", "train", 4, vocabulary)) == {"FOLDER=OFTEN": 4}
    each = read_labels(tmp_path / "set", "train", 4, vocabulary)
    assert found(each) == {"FOLDER=OFTEN": 4, "FOLDER=ONCE": 4}
    assert len(np.unique(each.groups)) > 2
    assert len(read_labels(tmp_path / "set", "valid", 4, vocabulary)) == 0
