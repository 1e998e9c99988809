"""The training tests' data set and program serve these tests too."""

from tests.train.conftest import data, train

__all__ = ["data", "train"]
