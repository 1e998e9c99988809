"""One vocabulary a group of settings: stable ids, a hash, nothing doubtful loaded."""

import json
import os
from pathlib import Path

import pytest

from megatron_music.errors import DataError, UsageError
from megatron_music.tokenizer.huggingface import save_tokenizer
from megatron_music.tokenizer.vocabulary import (
    SETTINGS_FILE,
    Kind,
    TokenizerSettings,
    Vocabulary,
    load_vocabulary,
    save_settings,
)


def test_the_ids_of_version_1_never_move() -> None:
    vocabulary = Vocabulary(TokenizerSettings())
    assert vocabulary.hash == "f52d08014ea611ce4f1d11e65debe0b571763e2fc70d39876c6a91a9d0ab84c7"
    assert len(vocabulary) == 425
    assert (vocabulary.pad, vocabulary.piece_start, vocabulary.piece_end) == (0, 1, 2)


@pytest.mark.parametrize("steps", [4, 12])
def test_meanings_agree_with_the_words_and_notes_lie_in_runs_of_128(steps: int) -> None:
    v = Vocabulary(TokenizerSettings(steps, attributes=("GENRE=JAZZ",)))
    first = {
        Kind.NOTE_ON: v.note_on,
        Kind.NOTE_OFF: v.note_off,
        Kind.TIME_DELTA: v.time_delta,
        Kind.DENSITY: v.density,
    }
    for token, (kind, value) in enumerate(v.meanings):
        if kind in first:
            assert v.tokens[token] == f"{kind.value}={value}"
            assert token == first[kind] + value
        else:
            assert token == value + v.inst * (kind is Kind.INST)
    assert len(v.meanings) == len(v)
    assert v.tokens[v.time_delta + 4 * steps] == f"TIME_DELTA={4 * steps}"
    assert v.tokens[v.note_on + 127] == "NOTE_ON=127"
    assert v.tokens[v.attribute] == "GENRE=JAZZ"


@pytest.mark.parametrize(
    "settings",
    [TokenizerSettings(), TokenizerSettings(12, bars=8), TokenizerSettings(density=False)],
)
def test_settings_come_back_from_their_folder(settings: TokenizerSettings, tmp_path: Path) -> None:
    save_tokenizer(settings, tmp_path)
    assert load_vocabulary(tmp_path).settings == settings


def test_a_folder_without_settings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no mmmtrack\.json"):
        load_vocabulary(tmp_path)
    os.mkfifo(tmp_path / SETTINGS_FILE)  # and a pipe in their place is not waited for
    with pytest.raises(DataError, match=r"no mmmtrack\.json"):
        load_vocabulary(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps_per_quarter": 5}, "4 or 12"),
        ({"bars": 0}, "1..64"),
        ({"density_edges": (1.0,)}, "nine"),
        ({"density_edges": (9, 8, 7, 6, 5, 4, 3, 2, 1)}, "ascending"),
        ({"density_edges": (float("nan"),) * 9}, "ascending"),
        ({"attributes": ("two words",)}, "one word"),
        ({"ensemble": ("KAZOO",)}, "no instrument 'KAZOO'"),
        ({"instrumentation_labels": ("A=B",)}, "1 labels"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TokenizerSettings(**settings)  # type: ignore[arg-type]


def test_an_attribute_may_not_repeat_a_token() -> None:
    with pytest.raises(UsageError, match="one name: PAD"):
        Vocabulary(TokenizerSettings(attributes=("PAD",)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps_per_quarter": "4"}, "steps_per_quarter: input should be a valid integer"),
        ({"bars": 4.5}, "bars: input should be a valid integer"),
        ({"density_edges": [[1]] * 9}, "density_edges.0"),
        ({"attributes": [1, 2]}, "attributes.0: input should be a valid string"),
        ({"fill": "x"}, "fill: input should be a valid boolean"),
        ({"auto_map": {"AutoTokenizer": "evil.Evil"}}, "auto_map: unexpected keyword"),
        ({"attributes": ["x" * 2_000_000]}, "more than 1,048,576 bytes"),
        ({"vocabulary_hash": "0"}, "vocabulary"),
        ({"version": 9}, "version"),
        ({"steps_per_quarter": 7}, "4 or 12"),
        ({"new": 1}, "new"),
    ],
)
def test_a_folder_of_settings_that_are_none_is_one_line(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    save_settings(TokenizerSettings(), tmp_path)
    path = tmp_path / SETTINGS_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(DataError, match=message) as fault:
        load_vocabulary(tmp_path)
    assert len(str(fault.value).splitlines()) == 1
    assert len(str(fault.value)) < 400 + len(str(tmp_path))


@pytest.mark.parametrize("text", ["", "[]", "3", "null", "{}", "[" * 100_000, "\xff"])
def test_a_file_that_holds_no_settings_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / SETTINGS_FILE).write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match="damaged"):
        load_vocabulary(tmp_path)
