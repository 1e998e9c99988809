"""Scores as MIDI files: the same notes, metres and tempo, whatever the parts."""

from megatron_music.score.instruments import DRUMS, SOPRANO
from megatron_music.score.midi import parse_midi
from megatron_music.score.midi_bytes import midi_bytes
from megatron_music.score.notes import Metre, Score
from tests.music import track


def test_a_score_comes_back_from_its_midi_file() -> None:
    score = Score(
        10_080,
        (
            track(SOPRANO, (0, 10_080, 72), (10_080, 20_160, 72)),
            track(40, (0, 3_360, 60), (3_360, 6_720, 62)),
            track(40, (0, 40_320, 48)),
            track(DRUMS, (5_040, 10_080, 36)),
        ),
        (Metre(0, 3, 4), Metre(30_240, 4, 4)),
        90.0,
    )
    back = parse_midi(midi_bytes(score), "a.mid")
    assert back.tracks == score.tracks
    assert back.metres == score.metres
    assert round(back.tempo_bpm, 3) == 90
