"""The places of documents are read as written, and nothing else is taken for them."""

from pathlib import Path

import numpy as np
import pytest

from megatron_music.errors import DataError
from megatron_music.tokenizer.places_in_piece import load_places, write_places


@pytest.mark.parametrize("rows", [[], [[0, 9], [4, 9], [-1, -1]]])
def test_rows_are_read_as_written(tmp_path: Path, rows: list[list[int]]) -> None:
    np.array(rows, np.int32).tofile(tmp_path / "train.places")
    assert write_places(tmp_path / "train.places", tmp_path / "train").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["train.places.npy"]
    places = load_places(tmp_path / "train", len(rows))
    assert places is not None
    assert (places.dtype, places.shape) == (np.int32, (len(rows), 2))
    assert places.tolist() == rows


def test_a_folder_from_before_places_has_none(tmp_path: Path) -> None:
    assert load_places(tmp_path / "train") is None


@pytest.mark.parametrize(
    "array",
    [np.zeros((3, 2)), np.zeros((3, 3), np.int32), np.zeros(6, np.int32),
     np.array([["a", None]], object)],
)  # fmt: skip
def test_other_arrays_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "train.places.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=r"train\.places\.npy .*build the data set again"):
        load_places(tmp_path / "train")
    (tmp_path / "train.places.npy").write_bytes(b"")
    with pytest.raises(DataError, match="build the data set again"):
        load_places(tmp_path / "train")
