"""What may be chosen about a data set."""

from typing import Any

import pytest

from megatron_music.data.settings import BuildSettings, choose
from megatron_music.errors import UsageError


def test_windows_lie_side_by_side_unless_a_hop_is_chosen() -> None:
    assert BuildSettings(bars=8).hop_bars == 8
    assert BuildSettings(bars=8, hop=2).hop_bars == 2


@pytest.mark.parametrize(
    ("count", "shifts"), [(1, [0]), (2, [-1, 0]), (3, [-1, 0, 1]), (12, list(range(-6, 6)))]
)
def test_transpositions_lie_around_the_original(count: int, shifts: list[int]) -> None:
    assert list(BuildSettings(transpositions=count).shifts) == shifts


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hop": 5}, "hop must be 1..4"),
        ({"hop": 0}, "hop must be 1..4"),
        ({"bars": 0}, "bars must be 1..64"),
        ({"steps_per_quarter": 5}, "4 or 12"),
        ({"transpositions": 0}, "transpositions must be 1..12"),
        ({"max_tracks": 0}, "max tracks must be 1 or more"),
        ({"split": (90, 10)}, "three weights"),
        ({"split": (0, 50, 50)}, "training above 0"),
        ({"split": (90, -5, 5)}, "three weights"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        BuildSettings(**wrong)


def test_what_is_not_chosen_is_as_the_collection_prefers() -> None:
    preferred = BuildSettings(bars=8, hop=4, transpositions=12)
    chosen = choose(preferred, {"density": False})
    assert (chosen.bars, chosen.hop, chosen.transpositions) == (8, 4, 12)
    assert not chosen.density


def test_a_preferred_hop_gives_way_to_shorter_windows() -> None:
    assert choose(BuildSettings(bars=8, hop=4), {"bars": 2}).hop_bars == 2
    assert choose(BuildSettings(bars=8, hop=4), {"bars": 16}).hop_bars == 4
