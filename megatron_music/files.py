"""Atomic files and folders: complete or absent, by one writer, never over their own source."""

import errno
import fcntl
import hashlib
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile

from megatron_music.errors import MusicError, UsageError, WriteError

_MOST_BYTES = 1 << 20
_MOST_NAMES = 10_000


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; rename it to `path` if the block succeeds.

    The temporary name keeps the suffix, which some writers go by. Raises WriteError where the
    place cannot be written; after any error nothing is left under either name. A device or a pipe,
    such as /dev/null, is written itself.
    """
    # The process id keeps two writers of the same file apart.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        # Root may rename over a device: there would be a file in its place.
        if path.is_char_device() or path.is_fifo():
            yield path
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as fault:
        raise WriteError(
            f"cannot write {path}: {os_error_reason(fault)}; {write_cure(fault)}"
        ) from fault
    finally:
        with suppress(OSError):
            temporary.unlink()


def os_error_reason(fault: OSError) -> str:
    """Return the system's message of an error, or name the broken link in the path."""
    place = Path(str(fault.filename or ""))
    for path in (place, *place.parents):
        if path.is_symlink() and not path.exists():
            return f"the link {path} points to {path.readlink()}, which is not there"
    return fault.strerror or str(fault)


def write_cure(fault: OSError, otherwise: str = "choose another place") -> str:
    """Return what to do where a file cannot be written: the disk is named only where it is full."""
    is_full = fault.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return "make room" if is_full else otherwise


def suggest_path(path: Path) -> str:
    """Return advice for a missing file: the most similar name in its folder, if there is one."""
    names: list[str] = []
    with suppress(OSError):
        names = [entry.name for entry in islice(os.scandir(path.parent), _MOST_NAMES)]
    stems = {Path(name).stem: name for name in names} | {name: name for name in names}
    near = get_close_matches(path.name, stems, n=1)
    return f"did you mean {path.with_name(stems[near[0]])}?" if near else "check the path"


def write_text(path: Path, text: str) -> None:
    """Write a text file in one piece; raises WriteError."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_changed(path: Path, text: str) -> None:
    """Write a text file unless it holds that text already; raises WriteError."""
    try:
        held = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        held = None
    if held != text:
        write_text(path, text)


def check_writable(folder: Path) -> None:
    """Raise WriteError if a folder cannot be written to; it need not exist yet."""
    place = folder.absolute()
    standing = next(path for path in (place, *place.parents) if os.path.lexists(path))
    try:
        # A trial, since permissions tell nothing of full disks and read-only mounts.
        with TemporaryFile(dir=standing):
            pass
    except OSError as fault:
        raise WriteError(
            f"cannot write into {folder}: {os_error_reason(fault)}; choose another place"
        ) from None


def build_hint(folder: Path) -> str:
    """Return the command that builds a data set: from a folder with music, else into it."""
    music = folder.is_dir() and any(folder.iterdir())
    name = shlex.quote(folder.resolve().name)
    source, place = (folder, f"data/{name}") if music else ("SOURCE", folder)
    words = f"megatron-music data build {shlex.quote(str(source))} -o {shlex.quote(str(place))}"
    return f"build one with: {words}" + f", and give data/{name}" * music


def free_stem(folder: Path, stem: str, kinds: Sequence[str]) -> Path:
    """Return `folder / stem`, or with -2 and so on, which no file of these kinds has."""
    number, path = 1, folder / stem
    while any(path.with_name(f"{path.name}.{kind}").exists() for kind in kinds):
        number += 1
        path = folder / f"{stem}-{number}"
    return path


def read_small(path: Path) -> str:
    """Read a text file of settings; raises OSError, also for a pipe, a device or one over 1 MiB."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    with path.open("rb") as file:
        text = file.read(_MOST_BYTES + 1)
    if len(text) > _MOST_BYTES:
        raise OSError(errno.EFBIG, f"more than {_MOST_BYTES:,} bytes", str(path))
    return text.decode("utf-8")


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_damaged(folder: Path, sizes: Mapping[str, int]) -> list[str]:
    """Return which of these files are missing in a folder or of another size, in bytes."""
    return [
        name
        for name, size in sizes.items()
        if not (folder / name).is_file() or (folder / name).stat().st_size != size
    ]


def check_suffix(output: Path | None, *suffixes: str) -> None:
    """Refuse to write under a name of another kind of file; raises UsageError."""
    if output is not None and output.suffix.lower() not in suffixes:
        raise UsageError(f"{output} must end in {' or '.join(suffixes)}; give another name")


def refuse_overwriting(source: Path, *outputs: Path | None) -> None:
    """Refuse outputs that would overwrite the file they are made from; raises UsageError."""
    for output in outputs:
        if output is not None and output.exists() and source.exists() and output.samefile(source):
            raise UsageError(f"{output} is the input itself; give another name for the output")


@contextmanager
def file_lock(lock: Path, busy: MusicError) -> Iterator[None]:
    """Hold `lock` (its folder is made) against other processes; raises `busy` if one holds it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        try:
            # The system frees this lock when the process dies; a file that means "locked" would
            # stay.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        yield
