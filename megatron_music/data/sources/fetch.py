"""Fetch collections: download, check by hash, and put the licence into the same folder."""

import hashlib
import logging
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from megatron_music.data.sources.archive import list_archive
from megatron_music.data.sources.catalog import Collection, Download
from megatron_music.data.sources.item import is_file
from megatron_music.errors import FetchError, MissingError, UsageError, WriteError
from megatron_music.files import file_lock, os_error_reason, sha256_of, write_cure, write_text
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
    if collection.download is None:
        return None
    place = _place(collection.download, folder or downloads() / collection.name)
    return place if place.exists() else None


def notice(collection: Collection) -> str:
    """Return a few lines with a collection's title, licence and citation."""
    download = collection.download
    return (
        f"{collection.name}: {collection.title} ({collection.size})\n"
        f"Licence: {collection.licence}\n"
        f"Citation: {collection.citation}\n"
        f"From: {download.url if download else collection.where}\n"
    )


def fetch(collection: Collection, folder: Path | None = None, progress: Progress = silent) -> Path:
    """Fetch a collection into a folder, or resume; return its archive or its folder.

    Checks files that were fetched before. Raises UsageError for a collection that is installed
    already, FetchError where the download fails or its hash is wrong, WriteError.
    """
    download = collection.download
    if download is None:
        if collection.embedded:
            raise UsageError(
                f"{collection.name} is here already, {collection.where}; "
                f"megatron-music data build {collection.name} -o DIR uses it"
            )
        raise MissingError(f"{collection.name} cannot be fetched: {collection.access}")
    folder = folder or downloads() / collection.name
    busy = FetchError(f"{collection.name} is being fetched into {folder} already; wait for it")
    try:
        with file_lock(folder / ".lock", busy):
            # Remove what a killed fetch left, except the part that has been downloaded.
            for left in folder.glob(f"{_UNPACKING}*"):
                shutil.rmtree(left, ignore_errors=True)
            for left in folder.glob("tmp????????"):  # pooch's, which stays empty until the end
                if left.is_file() and not left.stat().st_size:
                    left.unlink()
            write_text(folder / LICENCE_FILE, notice(collection))
            if download.hashes:
                _fetch_files(collection.name, download, folder, progress)
            else:
                _retrieve(collection.name, download, folder, progress)
    except OSError as fault:
        raise WriteError(
            f"cannot write {folder}: {os_error_reason(fault)}; {write_cure(fault)}"
        ) from None
    return _place(download, folder)


def _place(download: Download, folder: Path) -> Path:
    return folder / (download.within or download.file)


def _retrieve(name: str, download: Download, folder: Path, progress: Progress) -> Path:
    """Return the archive, downloaded unless it is here with the right hash."""
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
            f"the download from {download.url} is not the known version of {name}: its sha256 is "
            f"not {download.sha256}; it has been deleted: fetch it again, or get it elsewhere and "
            f"build from that: megatron-music data build {name} --source PATH"
        ) from None
    return Path(path)


def _fetch_files(name: str, download: Download, folder: Path, progress: Progress) -> None:
    """Download an archive and keep the files in the table of hashes, all or none."""
    # The table has the format of sha256sum.
    table = (Path(__file__).parent / download.hashes).read_text(encoding="ascii")
    rows = (line.partition("  ") for line in table.splitlines())
    hashes = {file: sha256 for sha256, _, file in rows}
    place = folder / download.within
    with suppress(OSError):  # a file that cannot be read is fetched again
        if all(sha256_of(place / file) == sha256 for file, sha256 in hashes.items()):
            return
    archive = _retrieve(name, download, folder, progress)
    with tempfile.TemporaryDirectory(dir=folder, prefix=_UNPACKING) as temporary:
        fresh = Path(temporary) / download.within
        fresh.mkdir()
        try:
            items = {item.name: item for item in list_archive(archive, fresh.parent, silent)}
            # GitHub's archives have one folder around all, named by the commit.
            tops = sorted({item.partition("/")[0] for item in items})
            for file, sha256 in hashes.items():
                ways = [f"{top}/{download.within}/{file}" for top in tops]
                item = next((items[way] for way in ways if way in items), None)
                raw = item.raw() if item is not None and is_file(item) else b""
                if hashlib.sha256(raw).hexdigest() != sha256:
                    raise FetchError(
                        f"{download.within}/{file} in the download from {download.url} is "
                        f"not that of the known version of {name}: its sha256 differs; it has been "
                        "deleted, fetch it again"
                    )
                # Under the table's names: nothing is written where the archive says.
                (fresh / file).write_bytes(raw)
        finally:
            archive.unlink(missing_ok=True)
        if place.exists():
            shutil.rmtree(place)
        fresh.rename(place)


WAITS_S: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
"""Waits after attempts that downloaded nothing; after any other the first wait comes again."""

_TIMEOUT_S = (15.0, 60.0)
_CHUNK_BYTES = 1 << 18


class Resuming:
    """A downloader for pooch that keeps what it has in `part`, and requests only the rest."""

    def __init__(self, part: Path, progress: Progress) -> None:
        self._part, self._progress = part, progress

    def __call__(self, url: str, output_file: Any, pooch: Any) -> None:  # noqa: ARG002
        """Download `url` to a path; raises FetchError, WriteError."""
        import requests
        import urllib3

        broken = (requests.RequestException, urllib3.exceptions.HTTPError, _CutShortError)
        failures = 0
        while True:
            before = self._size()
            more = f", attempt {failures + 1} of {len(WAITS_S) + 1}" if failures else ""
            self._tell(before, None, f"connecting to {urlsplit(url).hostname}{more}")
            try:
                self._request_rest(url)
                break
            except broken as fault:
                # Only attempts that downloaded nothing count: slow lines break off repeatedly.
                failures = 1 if self._size() > before else failures + 1
                if failures > len(WAITS_S):
                    raise FetchError(self._gave_up(url, fault)) from None
                time.sleep(WAITS_S[failures - 1])
            except OSError as fault:
                raise WriteError(
                    f"cannot write {self._part}: {os_error_reason(fault)}; {write_cure(fault)}, "
                    "the same command resumes from what has been downloaded"
                ) from None
        whole = max(1, self._size() // 1_000_000)
        self._progress(whole, whole)
        self._part.replace(output_file)

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _gave_up(self, url: str, fault: Exception) -> str:
        # The last of requests' chain of causes, without the connection's Python name before it.
        cause = getattr(fault.args[0] if fault.args else fault, "reason", None)
        how = " ".join(str(fault if cause is None else cause).split())
        how = how if cause is None else how.split("): ", 1)[-1]
        come = f"broke off after {self._size():,} bytes" if self._size() else "does not begin"
        return (
            f"the download of {url} {come} ({how}); check the connection; the same command "
            "resumes from what has been downloaded"
        )

    def _request_rest(self, url: str) -> None:
        """Download the missing bytes; raises an error where the connection breaks off."""
        import requests

        start = self._size()
        # Identity: the file as it is, even from hosts that call .gz an encoding.
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                if answer.headers.get("Content-Range", "") == f"bytes */{start}":
                    return  # the part is complete
                self._part.unlink(missing_ok=True)
                raise _CutShortError("the part from before is not the beginning of this file")
            if answer.status_code >= 500 or answer.status_code == requests.codes.too_many_requests:
                raise _CutShortError(f"{answer.status_code} {answer.reason}")
            if answer.status_code not in {requests.codes.ok, requests.codes.partial_content}:
                raise FetchError(
                    f"{url} answers {answer.status_code} {answer.reason}; it may have moved: see "
                    "`megatron-music data list` for where it comes from"
                )
            whole = answer.status_code == requests.codes.ok
            self._receive(answer, 0 if whole else start)

    def _receive(self, answer: Any, start: int) -> None:
        length = answer.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        # Checked before the download, not after an hour of it.
        room = shutil.disk_usage(self._part.parent).free
        if total is not None and total - start > room:
            raise WriteError(
                f"the download needs {total - start:,} more bytes, and {self._part.parent} has "
                f"{room:,} free; make room or choose another folder"
            )
        done = start
        with self._part.open("ab") as file:
            file.truncate(start)
            for chunk in answer.raw.stream(_CHUNK_BYTES, decode_content=False):
                file.write(chunk)
                done += len(chunk)
                self._tell(done, total)
        if total is not None and done != total:
            raise _CutShortError(f"{done - start:,} of {total - start:,} bytes received")

    def _tell(self, done: int, total: int | None, note: str = "") -> None:
        whole = (total or done) // 1_000_000 + 1
        self._progress(done // 1_000_000, whole, note)


class _CutShortError(Exception):
    """A response that ends too early."""
