"""The training tests' data set and program serve the export's tests too."""

from tests.train.conftest import data, train

__all__ = ["data", "train"]
