"""Columns of documents give the documents back, alone, in parts and put together."""

import numpy as np
import pytest

from megatron_music.tokenizer.document_columns import (
    NO_DOCUMENTS,
    DocumentColumns,
    concatenated,
    document_columns,
)

DOCUMENTS = [
    (np.array([1, 2, 3], np.uint16), np.array([0.5, 2.0]), 0),
    (np.array([4], np.uint16), np.zeros(0), 4),
    (np.array([5, 6], np.uint16), np.array([1.0]), 8),
]


def listed(columns: DocumentColumns) -> list[tuple[list[int], list[float], int]]:
    return [(tokens.tolist(), rates.tolist(), bar) for tokens, rates, bar in columns.one_by_one()]


WANTED = [(tokens.tolist(), rates.tolist(), bar) for tokens, rates, bar in DOCUMENTS]


def test_documents_come_back_one_by_one() -> None:
    assert listed(document_columns(DOCUMENTS)) == WANTED
    assert listed(NO_DOCUMENTS) == []


def test_columns_have_the_types_of_the_kernels() -> None:
    for columns in (document_columns(DOCUMENTS), NO_DOCUMENTS):
        kinds = [column.dtype.name for column in columns]
        assert kinds == ["uint16", "int32", "int32", "int32", "float64"]


@pytest.mark.parametrize("cut", range(4))
def test_parts_put_together_are_the_whole(cut: int) -> None:
    parts = [document_columns(DOCUMENTS[:cut]), document_columns(DOCUMENTS[cut:])]
    assert listed(concatenated(parts)) == WANTED


def test_a_part_is_a_view_of_some_documents() -> None:
    whole = document_columns(DOCUMENTS)
    part = whole.part(slice(1, 3), slice(3, 6), slice(2, 3))
    assert listed(part) == WANTED[1:]
    assert np.shares_memory(part.tokens, whole.tokens)
