"""Files that appear under their final name only when they are complete."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from megatron_music.errors import WriteError


@contextmanager
def complete(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` if the block succeeds.

    The temporary name keeps the suffix, which some writers go by. Raises WriteError where the
    place cannot be written; whatever went wrong, nothing is left under either name.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as fault:
        reason = fault.strerror or str(fault)
        raise WriteError(
            f"cannot write {path}: {reason}; make room or choose another place"
        ) from fault
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file in one piece; raises WriteError."""
    with complete(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
