"""Windows of training data that songs from nothing take their instruments from."""

import pytest

from megatron_music.tokenizer.instrumentations import (
    FEWEST_OF_A_LABEL,
    MOST_DRAWN,
    Instrumentation,
    candidates,
    instrumentations_of,
    with_instrumentations,
    with_rare_labels,
)
from megatron_music.tokenizer.vocabulary import TokenizerSettings

SETTINGS = TokenizerSettings(attributes=("GENRE=MASS", "GENRE=WALTZ", "METRE=FREE"))
MASS = Instrumentation("SOPRANO BASS", 90, "GENRE=MASS")
WALTZ = Instrumentation("0", 40, "GENRE=WALTZ METRE=FREE")
MANY = [MASS] * MOST_DRAWN


def test_settings_keep_the_rows_and_labels_only_where_there_are_attributes() -> None:
    assert instrumentations_of(with_instrumentations(SETTINGS, [MASS, WALTZ])) == [MASS, WALTZ]
    bare = with_instrumentations(TokenizerSettings(), [MASS])
    assert instrumentations_of(bare) == [MASS._replace(labels="")]


def test_a_label_that_few_windows_have_gets_a_few_and_others_none() -> None:
    rows = with_rare_labels(MANY, [WALTZ, MASS] * 9)
    assert rows == [*MANY, *[WALTZ] * FEWEST_OF_A_LABEL]
    assert with_rare_labels([MASS], [WALTZ]) == [MASS], "so few windows are all that there are"


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([], {"SOPRANO BASS"}),
        (["GENRE=UNKNOWN"], {"SOPRANO BASS"}),
        (["GENRE=MASS"], {"SOPRANO BASS"}),
        (["GENRE=WALTZ"], {"0"}),
        (["GENRE=MASS", "METRE=FREE"], {"SOPRANO BASS"}),
    ],
)
def test_windows_of_a_rare_label_count_where_it_is_asked_for(
    labels: list[str], names: set[str]
) -> None:
    settings = with_instrumentations(SETTINGS, [*MANY, WALTZ])
    assert {row.names for row in candidates(settings, labels)} == names


def test_without_windows_there_is_nothing_to_draw() -> None:
    assert candidates(SETTINGS, ["GENRE=MASS"]) == []
