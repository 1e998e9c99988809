"""One file by HTTP, gone on with where an earlier attempt ended."""

import shutil
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from megatron_music.errors import FetchError, WriteError
from megatron_music.files import why
from megatron_music.progress import Progress

_WAITS_S: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
"""Between attempts that brought nothing; one that brought something starts the row anew."""

_TIMEOUT_S = (15.0, 60.0)
_CHUNK_BYTES = 1 << 18


class Resuming:
    """A downloader for pooch that keeps what has come in `part`, and asks for the rest alone."""

    def __init__(self, part: Path, progress: Progress) -> None:
        self._part, self._progress = part, progress

    def __call__(self, url: str, output_file: Any, pooch: Any) -> None:  # noqa: ARG002
        """Download `url` to a path; raises FetchError, WriteError."""
        import requests
        import urllib3

        broken = (requests.RequestException, urllib3.exceptions.HTTPError, _CutShortError)
        barren = 0
        while True:
            before = self._size()
            self._tell(before, None, _attempt(url, barren))
            try:
                self._go_on(url)
                break
            except broken as fault:
                barren = 1 if self._size() > before else barren + 1
                if barren > len(_WAITS_S):
                    raise FetchError(self._gave_up(url, fault)) from None
                time.sleep(_WAITS_S[barren - 1])
            except OSError as fault:
                raise WriteError(
                    f"cannot write {self._part}: {why(fault)}; make room, the same "
                    "command goes on from what has come"
                ) from None
        whole = max(1, self._size() // 1_000_000)
        self._progress(whole, whole)
        self._part.replace(output_file)

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _gave_up(self, url: str, fault: Exception) -> str:
        # Of requests' chain of causes the last, without the connection's Python name before it.
        cause = getattr(fault.args[0] if fault.args else fault, "reason", None)
        how = " ".join(str(fault if cause is None else cause).split())
        how = how if cause is None else how.split("): ", 1)[-1]
        come = f"broke off after {self._size():,} bytes" if self._size() else "does not begin"
        return (
            f"the download of {url} {come} ({how}); check the connection, the same command goes on "
            "from what has come"
        )

    def _go_on(self, url: str) -> None:
        """Ask for what is missing; raises where it breaks off."""
        import requests

        start = self._size()
        # Identity: the file as it is, even from hosts that call .gz an encoding.
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                if answer.headers.get("Content-Range", "") == f"bytes */{start}":
                    return  # it had come whole
                self._part.unlink(missing_ok=True)
                raise _CutShortError("what had come is not a beginning of it")
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
        room = shutil.disk_usage(self._part.parent).free
        if total is not None and total - start > room:
            raise WriteError(
                f"{total - start:,} bytes are to come, and there is room for {room:,} in "
                f"{self._part.parent}; make room or choose another place"
            )
        done = start
        with self._part.open("ab") as file:
            file.truncate(start)
            for chunk in answer.raw.stream(_CHUNK_BYTES, decode_content=False):
                file.write(chunk)
                done += len(chunk)
                self._tell(done, total)
        if total is not None and done != total:
            raise _CutShortError(f"{done - start:,} of {total - start:,} bytes came")

    def _tell(self, done: int, total: int | None, note: str = "") -> None:
        whole = (total or done) // 1_000_000 + 1
        self._progress(done // 1_000_000, whole, note)


def _attempt(url: str, barren: int) -> str:
    more = f", attempt {barren + 1} of {len(_WAITS_S) + 1}" if barren else ""
    return f"connecting to {urlsplit(url).hostname}{more}"


class _CutShortError(Exception):
    """An answer that ends too early."""
