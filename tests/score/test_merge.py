"""Merging gathers what one instrument plays, and loses nothing."""

from hypothesis import given

from megatron_music.score.instruments import DRUMS
from megatron_music.score.merge import merge
from megatron_music.score.notes import Score
from megatron_music.score.quantize import quantize
from tests.music import scores, track


def test_the_hands_of_a_piano_become_one_track_where_the_first_stood() -> None:
    hands = (track(0, (0, 4, 60)), track(33, (0, 4, 40)), track(0, (2, 4, 48)))
    assert merge(Score(4, hands)).tracks == (track(0, (0, 4, 60), (2, 4, 48)), hands[1])


def test_a_note_of_both_tracks_comes_once() -> None:
    double = Score(4, (track(DRUMS, (0, 1, 36)), track(DRUMS, (0, 2, 36), (4, 5, 38))))
    assert quantize(merge(double), 4).tracks == (track(DRUMS, (0, 2, 36), (4, 5, 38)),)


@given(scores())
def test_no_note_is_lost(score: Score) -> None:
    merged = merge(score)
    codes = [t.instrument for t in merged.tracks]
    assert codes == list(dict.fromkeys(t.instrument for t in score.tracks))
    assert sum(map(len, merged.tracks)) == sum(map(len, score.tracks))
    assert merge(merged).tracks == merged.tracks
