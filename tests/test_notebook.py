"""What notebooks show: small, embedded, and the program's own words."""

import base64
import re
from io import BytesIO

import pytest
import soundfile

from megatron_music.errors import MusicError
from megatron_music.notebook import megatron_music, picture, player, show
from megatron_music.score.pianoroll import piano_roll
from tests.music import bass_line


def test_a_picture_is_a_png() -> None:
    assert picture(piano_roll(bass_line())).data.startswith(b"\x89PNG")


def test_a_player_holds_the_sound_of_the_piece() -> None:
    html = player(bass_line(), tempo_bpm=120)._repr_html_()
    (encoded,) = re.findall(r'src="data:audio/mpeg;base64,([^"]+)"', html)
    samples, rate_hz = soundfile.read(BytesIO(base64.b64decode(encoded)))
    assert len(encoded) < 60_000
    assert 2.0 <= len(samples) / rate_hz < 4.5  # a bar at 120, and the last note's echo
    assert abs(samples).max() > 0.3


def test_both_are_shown_in_this_order(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[object] = []
    monkeypatch.setattr("IPython.display.display", lambda *objects: shown.extend(objects))
    show(bass_line())
    assert [type(one).__name__ for one in shown] == ["Image", "Audio"]


@pytest.mark.slow
def test_commands_print_their_result_and_fail_with_their_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    megatron_music("--version")
    assert re.fullmatch(
        r"\$ megatron-music --version\nmegatron-music \S+\n", capsys.readouterr().out
    )
    with pytest.raises(MusicError, match=r"render nowhere\.mid failed: error: .*nowhere\.mid"):
        megatron_music("render nowhere.mid")
