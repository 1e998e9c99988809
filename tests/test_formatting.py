"""Counts and names as they stand in sentences."""

import pytest

from megatron_music.formatting import counted, escape_controls


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 pieces"), (1, "1 piece"), (8_988, "8,988 pieces")]
)
def test_one_is_one(count: int, said: str) -> None:
    assert counted(count, "piece") == said


def test_other_plurals_and_columns() -> None:
    assert counted(2, "process", "processes") == "2 processes"
    assert counted(1, "piece", width=5) == "    1 piece"


def test_what_would_move_a_cursor_is_seen() -> None:
    assert escape_controls("Bäch\x1b[2J\r\x9b\n♪") == r"Bäch\x1b[2J\x0d\x9b" + "\n♪"
