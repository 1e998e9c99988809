"""One piece to its documents: windows, order of tracks, keys, or a reason."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from megatron_music.data.records import KEPT, REFUSED
from megatron_music.data.settings import BuildSettings
from megatron_music.data.shards.encode_piece import MOST_BARS, MOST_NOTES, encode_item
from megatron_music.data.sources.item import Item
from megatron_music.score.instruments import DRUMS
from megatron_music.score.notes import Metre, Piece, Score, Track
from megatron_music.score.quantize import windows
from megatron_music.tokenizer.codec import decode
from megatron_music.tokenizer.vocabulary import Vocabulary
from tests.data.collection import Song, song
from tests.music import track

TRAIN_ALONE = (1, 0, 0)


@dataclass(frozen=True)
class Given:
    """An item that gives the score it was made of."""

    score: Score
    name: str = "given"

    def read(self) -> Score:
        return self.score


def documents(item: Item, **chosen: Any) -> list[Piece]:
    settings = BuildSettings(**{"split": TRAIN_ALONE, **chosen})
    vocabulary = Vocabulary(settings.tokenizer())
    piece = encode_item(item, settings, vocabulary)
    made, record = piece.documents, piece.record
    assert record.outcome == KEPT, record
    assert record.documents == len(made.lengths)
    assert record.tokens == len(made.tokens) == made.lengths.sum()
    return [decode(tokens, vocabulary) for tokens, *_ in made.one_by_one()]


def by_code(piece: Piece) -> list[Track]:
    return sorted(piece.tracks, key=lambda track: track.instrument)


def test_the_documents_are_the_windows_of_the_piece() -> None:
    decoded = documents(Song("a", 1), bars=4, hop=2)
    cut = windows(song(1), 4, 2)
    assert len(decoded) == len(cut) == 2
    for document, window in zip(decoded, cut, strict=True):
        assert document.bars == window.bars
        assert by_code(document) == by_code(window)


def test_unshuffled_tracks_stand_as_in_the_file_and_no_more_than_wanted() -> None:
    [first, _] = documents(Song("a", 1), shuffle=False)
    assert [track.instrument for track in first.tracks] == [0, 33, DRUMS]
    assert {len(piece.tracks) for piece in documents(Song("a", 1), max_tracks=2)} == {2}


def test_the_split_is_the_same_on_every_grid() -> None:
    prints = set()
    for steps in (4, 12):
        settings = BuildSettings(steps_per_quarter=steps)
        piece = encode_item(Song("a", 5), settings, Vocabulary(settings.tokenizer()))
        prints.add(piece.record.fingerprint)
    assert len(prints) == 1


def refusal(item: Item) -> tuple[str, str]:
    settings = BuildSettings()
    piece = encode_item(item, settings, Vocabulary(settings.tokenizer()))
    assert (piece.record.outcome, len(piece.documents.lengths)) == (REFUSED, 0)
    return piece.record.reason, piece.record.detail


def test_a_change_of_metre_is_refused_and_none_at_all_is_not() -> None:
    notes = (track(0, (0, 4, 60)),)
    changed = Score(4, notes, (Metre(0, 4, 4), Metre(16, 2, 4)))
    assert refusal(Given(changed))[0] == "metre"
    assert len(documents(Given(Score(4, notes)))) == 1


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        (Score(480, ()), "silent"),
        (Score(0, (track(0, (0, 4, 60)),)), "timing"),
        (Score(1, (track(0, (0, 4 * MOST_BARS + 1, 60)),)), "large"),
        (Score(1, (Track(0, *np.ones((3, MOST_NOTES + 1), np.int64)),)), "large"),
    ],
)
def test_absurd_scores_are_refused_before_they_cost_memory(score: Score, reason: str) -> None:
    assert refusal(Given(score))[0] == reason
