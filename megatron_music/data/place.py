"""The folder of a data set: what may be built there, and how all of it appears at once."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_music.data.manifest import MANIFEST_FILE, is_data_set
from megatron_music.errors import DataError, UsageError

WORK_FOLDER = ".build"
TOKENIZER_FOLDER = "tokenizer"
CARD_FILE = "README.md"


@dataclass(frozen=True)
class Result:
    """What `build` did: the manifest, and whether the data set was there already."""

    manifest: dict[str, Any]
    up_to_date: bool


def check_place(folder: Path) -> None:
    """Raise UsageError where no data set can be built."""
    if not str(folder).isprintable():
        raise UsageError(f"the name {str(folder)!r} cannot be printed; give another folder")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; give a folder for the data set")
    ours = is_data_set(folder) or (folder / WORK_FOLDER).exists()
    if folder.is_dir() and any(folder.iterdir()) and not ours:
        raise UsageError(
            f"{folder} holds other things; give a new folder for the data set, as in "
            f"-o data/{shlex.quote(folder.resolve().name)}"
        )


def busy(folder: Path) -> DataError:
    """Return the error of a folder where another build is running."""
    return DataError(f"another build is at work in {folder}; wait for it or give another folder")


def publish(made: Path, folder: Path) -> None:
    """Give every file its final name, the manifest last."""
    (folder / MANIFEST_FILE).unlink(missing_ok=True)
    for path in sorted(made.rglob("*"), key=lambda path: path.name == MANIFEST_FILE):
        final = folder / path.relative_to(made)
        if path.is_dir():
            final.mkdir(exist_ok=True)
        else:
            _sync(path)
            path.replace(final)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
