"""The steps that builds of music and of words have in common.

`Builder.build` checks the folder, looks for a finished data set, takes the lock, and gives files
their final names when all of them are there. A subclass says how the files are made. So a build
that is killed leaves no partial file under a final name.
"""

import os
import shlex
import shutil
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_music.data.manifest import (
    MANIFEST_FILE,
    is_data_set,
    read_manifest,
)
from megatron_music.errors import DataError, UsageError, WriteError
from megatron_music.files import file_lock, find_damaged, os_error_reason, write_cure

WORK_FOLDER = ".build"


@dataclass(frozen=True)
class Result:
    """The result of a build: the manifest, and whether the data set had been up to date."""

    manifest: dict[str, Any]
    up_to_date: bool


class Builder(ABC):
    """The build of one source with one choice of settings.

    `key` is the hash of what decides the bytes, as far as it is known before reading; the folder
    of unfinished work is named by `work_name`, which changes with the source's contents as well.
    `resumes` says that the next build uses what an interrupted one has left there.
    """

    key: str
    work_name: str
    resumes = True

    @abstractmethod
    def make(self, work: Path) -> Path:
        """Make all files of the data set below a folder; return the folder that holds just them.

        What an interrupted call left in `work` is there again. Raises UsageError and DataError.
        """

    @abstractmethod
    def difference(self, manifest: dict[str, Any]) -> str:
        """Return a text on how another data set differs: of other songs, of 4 bars."""

    def is_current(self, manifest: dict[str, Any], folder: Path) -> bool:
        """Tell whether a data set was built of this source with these settings."""
        del folder
        return bool(manifest["key"] == self.key)

    def clean_up(self, work: Path) -> None:
        """Remove the folder of unfinished work."""
        shutil.rmtree(work, ignore_errors=True)

    def build(self, folder: Path, force: bool = False) -> Result:
        """Build a data set, resume an interrupted build, or find the data set up to date.

        Raises UsageError where the folder holds something else (unless `force`), DataError where
        another build is running there or there is nothing to train on, WriteError where the folder
        cannot be written.
        """
        check_place(folder)
        busy = DataError(
            f"another build is running in {folder}; wait for it or give another folder"
        )
        try:
            finished = None if force else self._finished(folder)
            if finished is not None and not (folder / WORK_FOLDER).exists():
                return Result(finished, True)
            with file_lock(folder / WORK_FOLDER / "lock", busy):
                if finished is None:
                    publish(self.make(folder / WORK_FOLDER / self.work_name), folder)
                self.clean_up(folder / WORK_FOLDER)
        except OSError as fault:
            more = ", the same command resumes from what is saved" if self.resumes else ""
            raise WriteError(
                f"cannot write the data set {folder}: {os_error_reason(fault)}; "
                f"{write_cure(fault)}{more}"
            ) from fault
        return Result(finished or read_manifest(folder), finished is not None)

    def _finished(self, folder: Path) -> dict[str, Any] | None:
        """Return the manifest of a data set that needs no work; raises UsageError for another."""
        if not (folder / MANIFEST_FILE).exists():
            return None
        manifest = read_manifest(folder)
        if not self.is_current(manifest, folder):
            raise UsageError(
                f"{folder} holds a data set of {self.difference(manifest)}; "
                "give another folder with -o, in make DATA= (--force would replace that data set)"
            )
        # A file that is gone or cut short is made again; `data verify` compares hashes, too.
        sizes = {name: record["bytes"] for name, record in manifest["files"].items()}
        return None if find_damaged(folder, sizes) else manifest


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


def publish(made: Path, folder: Path) -> None:
    """Give every file its final name, the manifest last: a folder without one is not a data set."""
    (folder / MANIFEST_FILE).unlink(missing_ok=True)
    for path in sorted(made.rglob("*"), key=lambda path: path.name == MANIFEST_FILE):
        final = folder / path.relative_to(made)
        if path.is_dir():
            final.mkdir(exist_ok=True)
        else:
            # Forced to the disk before it gets its name: a power cut could leave an empty file.
            with path.open("rb") as file:
                os.fsync(file.fileno())
            path.replace(final)
