"""Instruments are said as people say them, and a wrong name is answered by the right one."""

import pretty_midi
import pytest

from megatron_music.errors import UsageError
from megatron_music.score.general_midi import (
    PROGRAMS,
    find_instrument,
    instrument_title,
    numbered_title,
)
from megatron_music.score.instruments import BASS, DRUMS, INSTRUMENT_COUNT, SOPRANO


def test_the_programmes_are_those_of_general_midi() -> None:
    assert len(PROGRAMS) == 128
    for code, name in enumerate(PROGRAMS):
        theirs = pretty_midi.program_to_instrument_name(code)
        assert name.lower().translate(str.maketrans("", "", "()")) == theirs.lower().translate(
            str.maketrans("", "", "()")
        )


def test_every_title_names_its_instrument() -> None:
    codes = range(INSTRUMENT_COUNT)
    assert [find_instrument(instrument_title(code)) for code in codes] == list(codes)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("piano", 0),
        ("acoustic bass", 32),
        ("1", 0),
        ("128", 127),
        ("Drums", DRUMS),
        ("bass", BASS),
        ("soprano", SOPRANO),
        ("vibra", 11),
        ("alto sax", 65),
        ("nylon", 24),
    ],
)
def test_an_instrument_is_found_by_what_people_say(said: str, code: int) -> None:
    assert find_instrument(said) == code


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("violn", "did you mean Violin"),
        ("acoustic bas guitar", "no instrument 'acoustic bas guitar'"),
        ("electric", r"several instruments: .*Electric Guitar \(jazz\) \(27\)"),
        ("0", r"count from 1 \(Acoustic Grand Piano\) to 128"),
        ("129", "no instrument 129"),
        ("!", "no instrument '!'"),
    ],
)
def test_an_unknown_instrument_gets_suggestions(said: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_instrument(said)


def test_numbers_are_shown_as_daws_count() -> None:
    assert numbered_title(32) == "Acoustic Bass (33)"
    assert numbered_title(DRUMS) == "Drums"
