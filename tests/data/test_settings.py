"""What may be chosen about a data set."""

from pathlib import Path
from typing import Any

import pytest

from megatron_music.data.settings import BuildSettings, choose, like
from megatron_music.errors import UsageError
from megatron_music.tokenizer.vocabulary import TokenizerSettings, save_settings

EDGES = (1, 2, 3, 4, 5, 6, 7, 8, 9.5)


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


@pytest.mark.parametrize("choice", [{"hop": 2}, {"seed": 3}])
def test_what_means_nothing_for_whole_pieces_is_refused(choice: dict[str, Any]) -> None:
    (name,) = choice
    preferred = BuildSettings(bars=8, hop=4, pieces=True)
    assert choose(preferred, {"bars": 4}).hop == 4, "for windows that are written later"
    with pytest.raises(UsageError, match=f"{name} is for stored windows.*--windows"):
        choose(preferred, choice)
    assert getattr(choose(preferred, {**choice, "pieces": False}), name) == choice[name]


def test_like_another_data_set_takes_what_gives_its_tokens_their_meaning(tmp_path: Path) -> None:
    settings = TokenizerSettings(steps_per_quarter=12, bars=8, density_edges=EDGES, fill=True)
    save_settings(settings, tmp_path / "tokenizer")
    chosen = choose(BuildSettings(), like(tmp_path, {"bars": 8, "transpositions": 3}))
    assert chosen.tokenizer() == settings
    assert chosen.transpositions == 3


def test_a_choice_that_contradicts_the_other_data_set_is_refused(tmp_path: Path) -> None:
    save_settings(TokenizerSettings(), tmp_path / "tokenizer")
    with pytest.raises(UsageError, match=r"bars is 4 in .* \(got 8\); leave the option out"):
        like(tmp_path, {"bars": 8})


def test_a_data_set_without_densities_gives_no_edges(tmp_path: Path) -> None:
    save_settings(TokenizerSettings(density=False), tmp_path / "tokenizer")
    chosen = choose(BuildSettings(), like(tmp_path, {}))
    assert (chosen.density, chosen.density_edges) == (False, None)
