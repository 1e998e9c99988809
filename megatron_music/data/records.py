"""The outcome of each piece of a source: the lines of `files.jsonl`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from typing import Any

from megatron_music.errors import DataError

RECORDS_FILE = "files.jsonl"
KEPT, REFUSED = "kept", "refused"
DUPLICATE, NEAR_DUPLICATE = "duplicate", "near-duplicate"
"""The reasons that depend on other pieces."""


@dataclass
class FileRecord:
    """The outcome of one piece of the source: what it was made into, or why it was left out."""

    name: str
    outcome: str
    reason: str = ""
    detail: str = ""
    split: str = ""
    bars: int = 0
    windows: int = 0
    documents: int = 0
    tokens: int = 0
    fingerprint: str = ""
    instruments: tuple[str, ...] = ()


def line(of: FileRecord) -> bytes:
    """Return the line of a record: JSON, formatted by hand since there may be millions."""
    return (
        f'{{"name": {quoted(of.name)}, "outcome": "{of.outcome}", "reason": {_text(of.reason)}, '
        f'"detail": {_text(of.detail)}, "split": {_text(of.split)}, "bars": {of.bars}, '
        f'"windows": {of.windows}, "documents": {of.documents}, "tokens": {of.tokens}, '
        f'"fingerprint": {_text(of.fingerprint)}}}\n'
    ).encode()


def is_kept(text: bytes) -> bool:
    """Tell whether a line of `files.jsonl` says that its piece was kept."""
    return bool(json.loads(text)["outcome"] == KEPT)


def left_out(folder: Path) -> Iterator[dict[str, Any]]:
    """Give the record of each input of a data set that is left out, in whole or in part.

    Raises DataError where the file of records is missing or damaged.
    """
    path = folder / RECORDS_FILE
    try:
        with path.open(encoding="utf-8") as lines:
            for text in lines:
                record: dict[str, Any] = json.loads(text)
                # The detail of a kept piece says which part of it was left out.
                if record["outcome"] == REFUSED or record["detail"]:
                    yield record
    except FileNotFoundError:
        raise DataError(f"no {RECORDS_FILE} in {folder}; give the folder of a data set") from None
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise DataError(f"{path} is damaged ({fault}); build the data set again") from None


def _text(value: str) -> str:
    return quoted(value) if value else "null"
