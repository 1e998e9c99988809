"""Arrays in a file come back as they were, or not at all."""

from pathlib import Path

import numpy as np
import pytest

from megatron_music.data.shards.shard_file import read_columns, write_columns
from megatron_music.errors import DataError

COLUMNS = {
    "words": np.array([1, 2**64 - 1], np.uint64),
    "none": np.zeros(0, np.float64),
    "every_second": np.arange(10, dtype=np.int32)[::2],
    "text": np.frombuffer(b"\n\0", np.uint8),
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_columns(tmp_path / "columns", COLUMNS)
    read = read_columns(tmp_path / "columns", COLUMNS)
    assert list(read) == list(COLUMNS)
    for name, column in COLUMNS.items():
        assert (read[name].dtype, read[name].tolist()) == (column.dtype, column.tolist())


def test_some_can_be_read_without_the_others(tmp_path: Path) -> None:
    write_columns(tmp_path / "columns", COLUMNS)
    [(name, column)] = read_columns(tmp_path / "columns", ["text"]).items()
    assert (name, column.tobytes()) == ("text", b"\n\0")


@pytest.mark.parametrize("damage", ["cut", "changed", "emptied", "zeroed", "gone"])
def test_damage_is_found(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "columns"
    write_columns(path, COLUMNS)
    raw = path.read_bytes()
    made = {
        "cut": raw[:-3],
        "changed": raw[:-5] + b"\x09" + raw[-4:],
        "emptied": b"",
        "zeroed": bytes(len(raw)),
    }
    path.write_bytes(made.get(damage, raw))
    if damage == "gone":
        path.unlink()
    with pytest.raises(DataError, match=r"columns is damaged .* delete it and build again"):
        read_columns(path, COLUMNS)


def test_a_column_that_is_not_there_is_damage(tmp_path: Path) -> None:
    write_columns(tmp_path / "columns", COLUMNS)
    with pytest.raises(DataError, match="'tokens'"):
        read_columns(tmp_path / "columns", ["tokens"])
