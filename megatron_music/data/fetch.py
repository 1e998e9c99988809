"""Collections brought from where they are: checked, with their licence beside them."""

import hashlib
import logging
import os
import shutil
import tempfile
from pathlib import Path

from megatron_music.data.archives import list_archive
from megatron_music.data.catalog import Collection, Download
from megatron_music.data.download import Resuming
from megatron_music.data.items import is_file
from megatron_music.errors import FetchError, MissingError, UsageError, WriteError
from megatron_music.files import alone, sha256_of, why, write_text
from megatron_music.progress import Progress, silent

DOWNLOADS = "MEGATRON_MUSIC_DOWNLOADS"
"""The environment variable that names the folder of downloads; else `data/downloads`."""

LICENCE_FILE = "LICENCE.txt"
_UNPACKING = ".unpacking-"


def downloads() -> Path:
    """Return the folder that collections are fetched into, each into a folder of its name."""
    return Path(os.environ.get(DOWNLOADS, "") or "data/downloads")


def found(collection: Collection, folder: Path | None = None) -> Path | None:
    """Return the archive or folder of a collection that has been fetched, if it is here."""
    place = _place(collection, folder or downloads() / collection.name)
    return place if place is not None and place.exists() else None


def notice(collection: Collection) -> str:
    """Say in a few lines what a collection is, on which terms, and whom to cite."""
    download = collection.download
    return (
        f"{collection.name}: {collection.title} ({collection.size})\n"
        f"Licence: {collection.licence}\n"
        f"Citation: {collection.citation}\n"
        f"From: {download.url if download else collection.where}\n"
    )


def fetch(collection: Collection, folder: Path | None = None, progress: Progress = silent) -> Path:
    """Fetch a collection into a folder, or go on with that; return its archive or its folder.

    What is there is checked again. Raises UsageError for a collection that is not fetched,
    FetchError where it does not come or is not what it should be, WriteError.
    """
    download = collection.download
    if download is None:
        raise _not_fetched(collection)
    folder = folder or downloads() / collection.name
    busy = FetchError(f"{collection.name} is being fetched into {folder} already; wait for it")
    try:
        with alone(folder / ".lock", busy):
            _tidy(folder)
            write_text(folder / LICENCE_FILE, notice(collection))
            if download.hashes:
                _fetch_files(collection.name, download, folder, progress)
            else:
                _retrieve(collection.name, download, folder, progress)
    except OSError as fault:
        raise WriteError(
            f"cannot write {folder}: {why(fault)}; make room or choose another place"
        ) from None
    return folder / (download.within or download.file)


def _tidy(folder: Path) -> None:
    """Remove what a killed fetch leaves beside the part that has come."""
    for left in folder.glob(f"{_UNPACKING}*"):
        shutil.rmtree(left, ignore_errors=True)
    for left in folder.glob("tmp????????"):  # pooch's, which stays empty until the end
        if left.is_file() and not left.stat().st_size:
            left.unlink()


def _not_fetched(collection: Collection) -> Exception:
    if collection.embedded:
        return UsageError(
            f"{collection.name} is here already, {collection.where}; "
            f"megatron-music data build {collection.name} -o DIR uses it"
        )
    return MissingError(f"{collection.name} cannot be fetched: {collection.access}")


def _place(collection: Collection, folder: Path) -> Path | None:
    download = collection.download
    return folder / (download.within or download.file) if download else None


def _retrieve(name: str, download: Download, folder: Path, progress: Progress) -> Path:
    """Bring the archive, or find it here with the right hash."""
    import pooch

    pooch.get_logger().setLevel(logging.ERROR)
    part = folder / f"{download.file}.part"
    known = f"sha256:{download.sha256}" if download.sha256 else None
    try:
        path = pooch.retrieve(
            download.url, known, download.file, folder, downloader=Resuming(part, progress)
        )
    except ValueError:
        raise FetchError(
            f"what came from {download.url} is not {name} as it is known here: its sha256 is not "
            f"{download.sha256}; it was thrown away: fetch it again, or get it elsewhere and give "
            f"it: megatron-music data build {name} --source PATH"
        ) from None
    return Path(path)


def _fetch_files(name: str, download: Download, folder: Path, progress: Progress) -> None:
    """Bring an archive and keep the files of it whose hashes are known, all or none."""
    hashes = _hashes(download.hashes)
    place = folder / download.within
    if place.is_dir() and all(_sha256_of(place / file) == hashes[file] for file in hashes):
        return
    archive = _retrieve(name, download, folder, progress)
    with tempfile.TemporaryDirectory(dir=folder, prefix=_UNPACKING) as temporary:
        fresh = Path(temporary) / download.within
        fresh.mkdir()
        try:
            _take_out(name, archive, download, hashes, fresh)
        finally:
            archive.unlink(missing_ok=True)
        if place.exists():
            shutil.rmtree(place)
        fresh.rename(place)


def _take_out(
    name: str, archive: Path, download: Download, hashes: dict[str, str], fresh: Path
) -> None:
    """Write the files that are in the table, and under the names of the table, into a folder."""
    items = {item.name: item for item in list_archive(archive, fresh.parent, silent)}
    beginnings = {item.partition("/")[0] for item in items}
    for file, sha256 in hashes.items():
        ways = [f"{top}/{download.within}/{file}" for top in sorted(beginnings)]
        item = next((items[way] for way in ways if way in items), None)
        raw = item.raw() if item is not None and is_file(item) else b""
        if hashlib.sha256(raw).hexdigest() != sha256:
            raise FetchError(
                f"{download.within}/{file} in what came from {download.url} is not that of {name} "
                "as it is known here: its sha256 differs; it was thrown away, fetch it again"
            )
        (fresh / file).write_bytes(raw)


def _hashes(file: str) -> dict[str, str]:
    """Return the sha256 of each file by its name, from a table as sha256sum writes it."""
    lines = (Path(__file__).parent / file).read_text(encoding="ascii").splitlines()
    return {name: sha256 for sha256, _, name in (line.partition("  ") for line in lines)}


def _sha256_of(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError:
        return ""
