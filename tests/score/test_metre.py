"""Metres: which there are, and which are refused."""

import pytest

from megatron_music.errors import UsageError
from megatron_music.score.metre import COMMON_TIME, METRES, cut_short, parse_metres, time_signatures


def test_every_bar_is_a_whole_number_of_sixteenths_and_at_most_eight_quarters() -> None:
    for metre in METRES:
        assert 16 * metre.numerator == metre.sixteenths * metre.denominator
        assert 1 <= metre.sixteenths <= 32
        assert metre.steps(12) == 3 * metre.steps(4)


def test_metres_are_asked_for_by_any_or_by_name() -> None:
    assert time_signatures(parse_metres("any")) == METRES
    assert parse_metres("3/4, 4/4") == ("3/4", "4/4")
    assert parse_metres("4/4") == ()
    assert time_signatures(()) == (COMMON_TIME,)


@pytest.mark.parametrize("text", ["0/4", "99/128", "4", "", "3/4,x", "4/0", "-3/4"])
def test_a_word_that_is_not_a_metre_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="choose among"):
        parse_metres(text)


def test_any_stands_alone() -> None:
    with pytest.raises(UsageError, match="any stands alone"):
        parse_metres("3/4,any")


def test_a_bar_cut_short_keeps_its_denominator_where_it_can() -> None:
    assert str(cut_short(8, 4, METRES)) == "2/4"
    assert str(cut_short(8, 2, METRES)) == "2/4"
    assert str(cut_short(12, 8, METRES)) == "6/8"
    assert str(cut_short(5, 4, METRES)) == "5/16"
    assert cut_short(31, 4, METRES) is None
