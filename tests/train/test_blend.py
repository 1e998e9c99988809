"""Several data set folders: how they are named, weighed and held against each other."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from megatron_music.errors import DataError, UsageError
from megatron_music.tokenizer.instrumentations import MOST_DRAWN
from megatron_music.tokenizer.vocabulary import (
    TokenizerSettings,
    Vocabulary,
    save_settings,
)
from megatron_music.train.blend import (
    Blend,
    Part,
    common_vocabulary,
    parse_blend,
    with_shared_instruments,
)

SETTINGS = TokenizerSettings()
EDGES = (1, 2, 3, 4, 5, 6, 7, 8, 9)


def data_set(folder: Path, tokens: int = 0, settings: TokenizerSettings = SETTINGS) -> Path:
    """Write as much of a data set as is looked at here."""
    save_settings(settings, folder / "tokenizer")
    (folder / "train.bin").write_bytes(bytes(2 * tokens))
    return folder


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["a:0.7", "b:3e-1"], [("a", 0.7), ("b", 0.3)]),
        (["a", "b"], [("a", None), ("b", None)]),
        (["take:two"], [("take:two", None)]),  # a colon in a name does not begin a weight
        (["take:two:2"], [("take:two", 2.0)]),
        (["a:1", "b:1", "./a:2"], [("a", 3.0), ("b", 1.0)]),  # given twice: with both weights
        (["a", "a/"], [("a", None)]),
    ],
)
def test_folders_have_weights_or_none(
    words: list[str], parts: list[tuple[str, float | None]]
) -> None:
    assert parse_blend(words).parts == tuple(Part(Path(name), weight) for name, weight in parts)


def test_shares_add_up_to_one_and_a_folder_may_be_named_as_if_it_had_a_weight(
    tmp_path: Path,
) -> None:
    assert parse_blend(["a:3", "b:1"]).shares == [0.75, 0.25]
    assert parse_blend(["a:3"]).shares == parse_blend(["a"]).shares == [1.0]
    (tmp_path / "take:2").mkdir()
    assert parse_blend([f"{tmp_path}/take:2"]) == Blend.of(tmp_path / "take:2")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a:0.5", "b"], "b has no weight and other data have"),
        (["a:0"], r"a weight must be a number above 0 \(got --data a:0\)"),
        (["a:-1"], "above 0"),
        (["a:nan"], "above 0"),
        (["a:inf"], "above 0"),
        ([".:abc"], r"a weight must be a number above 0 \(got --data .:abc\)"),
    ],
)
def test_weights_that_cannot_be_are_refused(words: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        parse_blend(words)


def test_without_weights_folders_count_by_their_training_tokens(tmp_path: Path) -> None:
    blend = Blend((Part(data_set(tmp_path / "a", 300)), Part(data_set(tmp_path / "b", 100))))
    vocabulary = Vocabulary(SETTINGS)
    assert blend.sized(vocabulary).shares == [0.75, 0.25]
    assert list(blend.epochs(800, vocabulary).values()) == [2.0, 2.0]
    even = parse_blend([f"{tmp_path}/a:1", f"{tmp_path}/b:1"])
    assert even.sized(vocabulary).shares == [0.5, 0.5]
    assert list(even.epochs(600, vocabulary).values()) == [1.0, 3.0]


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (replace(SETTINGS, density_edges=EDGES), "density_edges"),
        (replace(SETTINGS, bars=8, density=False), "bars, density"),
        (replace(SETTINGS, steps_per_quarter=12), "steps_per_quarter"),
        (replace(SETTINGS, attributes=("GENRE=jazz",)), "attributes"),
    ],
)
def test_tokens_that_mean_different_things_are_not_blended(
    tmp_path: Path, other: TokenizerSettings, named: str
) -> None:
    a, b = data_set(tmp_path / "a"), data_set(tmp_path / "b", settings=other)
    with pytest.raises(DataError) as fault:
        common_vocabulary(Blend((Part(a), Part(b))))
    assert f"tokens of {a} and {b} mean different things (by {named})" in str(fault.value)
    assert str(fault.value).endswith(f"data build SOURCE -o {b}-like-a --like {a}")


def test_density_figures_mean_nothing_where_no_density_is_written(tmp_path: Path) -> None:
    silent = replace(SETTINGS, density=False)
    a = data_set(tmp_path / "a", settings=silent)
    b = data_set(tmp_path / "b", settings=replace(silent, density_edges=EDGES))
    assert common_vocabulary(Blend((Part(a), Part(b)))).settings == silent


def test_a_blend_has_the_ensemble_of_all_and_hidden_bars_of_any(tmp_path: Path) -> None:
    choir = replace(SETTINGS, ensemble=("SOPRANO", "BASS"))
    a = data_set(tmp_path / "a", settings=choir)
    b = data_set(tmp_path / "b", settings=replace(choir, fill=True))
    c = data_set(tmp_path / "c", settings=SETTINGS)
    assert common_vocabulary(Blend((Part(a), Part(b)))).settings == replace(choir, fill=True)
    assert common_vocabulary(Blend((Part(a), Part(c)))).settings == SETTINGS


def test_a_blend_has_the_instruments_of_its_folders_by_their_shares(tmp_path: Path) -> None:
    duo = replace(SETTINGS, instrumentations=("0 33",), instrumentation_tokens=(90,))
    choir = replace(SETTINGS, ensemble=("SOPRANO", "BASS"))
    parts = (
        Part(data_set(tmp_path / "a", settings=duo), 3.0),
        Part(data_set(tmp_path / "b", settings=choir), 1.0),
    )
    blend = Blend(parts)
    told = with_shared_instruments(blend, common_vocabulary(blend)).settings
    assert Counter(told.instrumentations) == {"0 33": 192, "SOPRANO BASS": 64}
    assert len(told.instrumentation_tokens) == MOST_DRAWN


def test_a_blend_keeps_windows_of_the_labels_of_a_small_share(tmp_path: Path) -> None:
    labelled = replace(SETTINGS, attributes=("GENRE=WALTZ", "GENRE=MASS"))
    parts = []
    for name, genre, weight in (("0", "WALTZ", 1.0), ("0 33", "MASS", 999.0)):
        of = replace(
            labelled,
            instrumentations=(name,),
            instrumentation_tokens=(90,),
            instrumentation_labels=(f"GENRE={genre}",),
        )
        parts.append(Part(data_set(tmp_path / genre, settings=of), weight))
    blend = Blend(tuple(parts))
    told = with_shared_instruments(blend, common_vocabulary(blend)).settings
    assert told.instrumentations == (*["0 33"] * MOST_DRAWN, "0")


def test_a_folder_that_is_not_a_data_set_is_named(tmp_path: Path) -> None:
    a = data_set(tmp_path / "a")
    with pytest.raises(DataError, match="no data set in nowhere; build one"):
        common_vocabulary(Blend((Part(a), Part(Path("nowhere")))))
