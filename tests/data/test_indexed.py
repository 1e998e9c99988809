"""The binary format is Megatron's own, byte for byte."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from megatron.core.datasets.indexed_dataset import DType, IndexedDataset, IndexedDatasetBuilder

from megatron_music.data.indexed import IndexedReader, write_index, write_index_of
from megatron_music.errors import DataError
from megatron_music.tokenizer.vocabulary import token_dtype

documents_of = st.lists(st.lists(st.integers(0, 60_000), min_size=1, max_size=50), max_size=20)
dtypes = st.sampled_from([np.dtype(np.uint16), np.dtype(np.int32)])


def write(documents: list[list[int]], prefix: Path, dtype: np.dtype[np.generic]) -> None:
    tokens = [np.array(document, dtype).tobytes() for document in documents]
    prefix.with_suffix(".bin").write_bytes(b"".join(tokens))
    with prefix.with_suffix(".idx").open("wb") as file:
        write_index(file, np.array([len(d) for d in documents], np.int32), dtype)


def write_by_megatron(documents: list[list[int]], prefix: Path, dtype: np.dtype) -> None:
    builder = IndexedDatasetBuilder(str(prefix.with_suffix(".bin")), dtype=dtype.type)
    for document in documents:
        builder.add_document(torch.tensor(document), [len(document)])
    builder.finalize(str(prefix.with_suffix(".idx")))


@given(documents_of, dtypes)
@settings(max_examples=60)
def test_the_bytes_equal_those_of_megatrons_builder(
    documents: list[list[int]], dtype: np.dtype
) -> None:
    with TemporaryDirectory() as folder:
        ours, theirs = Path(folder, "ours"), Path(folder, "theirs")
        write(documents, ours, dtype)
        write_by_megatron(documents, theirs, dtype)
        for suffix in (".bin", ".idx"):
            assert ours.with_suffix(suffix).read_bytes() == theirs.with_suffix(suffix).read_bytes()


@given(documents_of, dtypes)
@settings(max_examples=30)
def test_the_reader_gives_back_what_megatron_wrote(
    documents: list[list[int]], dtype: np.dtype
) -> None:
    with TemporaryDirectory() as folder:
        prefix = Path(folder, "theirs")
        write_by_megatron(documents, prefix, dtype)
        reader = IndexedReader(prefix)
        assert [reader[i].tolist() for i in range(len(reader))] == documents
        assert reader.dtype == dtype


def test_megatrons_dataset_reads_what_we_wrote(tmp_path: Path) -> None:
    documents = [[1, 2, 3], [4], [5, 6]]
    write(documents, tmp_path / "ours", np.dtype(np.uint16))
    dataset = IndexedDataset(str(tmp_path / "ours"))
    assert [dataset[i].tolist() for i in range(len(dataset))] == documents
    assert dataset.document_indices.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [10, 65_499, 65_500, 70_000])
def test_the_dtype_is_the_one_megatron_picks(size: int) -> None:
    assert token_dtype(size) == DType.optimal_dtype(size)


def test_a_document_that_is_not_there_is_an_index_error(tmp_path: Path) -> None:
    write([[1]], tmp_path / "one", np.dtype(np.uint16))
    reader = IndexedReader(tmp_path / "one")
    for index in (-1, 1):
        with pytest.raises(IndexError):
            reader[index]


def test_a_missing_pair_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        IndexedReader(tmp_path / "none")


@pytest.mark.parametrize("damage", [b"", b"MMIDIDX\x00\x01", b"x" * 100])
def test_a_damaged_index_is_a_data_error(tmp_path: Path, damage: bytes) -> None:
    write([[1, 2]], tmp_path / "set", np.dtype(np.uint16))
    (tmp_path / "set.idx").write_bytes(damage)
    with pytest.raises(DataError, match="not a sound Megatron index"):
        IndexedReader(tmp_path / "set")


def test_a_shortened_binary_is_a_data_error(tmp_path: Path) -> None:
    write([[1, 2]], tmp_path / "set", np.dtype(np.uint16))
    (tmp_path / "set.bin").write_bytes(b"\x01\x00")
    with pytest.raises(DataError, match="has 2 bytes, its index says 4"):
        IndexedReader(tmp_path / "set")


@pytest.mark.parametrize("lengths", [[], [3, 1, 4, 1, 5]])
def test_an_index_takes_the_place_of_a_file_of_lengths(tmp_path: Path, lengths: list[int]) -> None:
    np.array(lengths, np.int32).tofile(tmp_path / "made.lengths")
    assert write_index_of(tmp_path / "made.lengths") == tmp_path / "made.idx"
    with (tmp_path / "whole.idx").open("wb") as file:
        write_index(file, np.array(lengths, np.int32), np.dtype(np.uint16))
    assert (tmp_path / "made.idx").read_bytes() == (tmp_path / "whole.idx").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"made.idx", "whole.idx"}


def test_a_large_index_is_what_a_small_one_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = np.arange(1, 24, dtype=np.int32)
    made = []
    for part in (1 << 20, 4):
        monkeypatch.setattr("megatron_music.data.indexed.PART_DOCUMENTS", part)
        with (tmp_path / "set.idx").open("wb") as file:
            write_index(file, lengths, np.dtype(np.uint16))
        made.append((tmp_path / "set.idx").read_bytes())
    assert made[0] == made[1]
