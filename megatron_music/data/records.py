"""The outcome of each piece of a source: the lines of `files.jsonl`, and why it is left out."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from typing import Any

from megatron_music.errors import DataError, InputError

RECORDS_FILE = "files.jsonl"
KEPT, REFUSED = "kept", "refused"
DUPLICATE, NEAR_DUPLICATE = "duplicate", "near-duplicate"
"""The reasons that depend on other pieces."""


class Refusal(InputError):  # noqa: N818 (an outcome among others, not a fault)
    """A piece that is left out; `reason` is the key of its count.

    | reason         | the piece                                                        |
    |----------------|------------------------------------------------------------------|
    | unreadable     | cannot be opened: gone, no permission, no file                   |
    | empty          | is a file without a byte                                         |
    | foreign        | is not what its name says: a web page, an archive                |
    | damaged        | is cut short, has in it what no MIDI file may have, or cannot be |
    |                | parsed as the notation that its name says                        |
    | timing         | counts no beats: film frames, or no ticks in a quarter note      |
    | format         | holds separate patterns (format 2) instead of tracks of one      |
    |                | piece                                                            |
    | silent         | holds no notes, or none that ever ends                           |
    | large          | is beyond the limits on bytes, notes or bars                     |
    | memory         | took more memory than a piece may                                |
    | crashed        | ended the process that read it, or took too long                 |
    | metre          | has no stretch as long as a window in a metre that is kept, or   |
    |                | notation without a time signature that a bar can have            |
    | parts          | is a chorale of other than four parts                            |
    | words          | is a chorale without words, where those that have some are wanted  |
    | barlines       | is a chorale whose bars do not fall on the grid of its metre     |
    | duplicate      | is the music of another, at the same or another pitch            |
    | link           | is a link within an archive                                      |
    | outside        | has a name that leads out of its archive                         |
    | replaced       | has the name of a later member of its archive                    |
    | encrypted      | asks for a password                                              |
    | sparse         | has hardly a note or a single pitch (this and what follows: only |
    |                | with `--quality`, see `shards.quality`)                          |
    | off-grid       | has mostly notes that the grid moves                             |
    | atonal         | has notes of no scale                                            |
    | arrhythmic     | has a rhythm that never repeats                                  |
    | near-duplicate | is nearly the music of another                                   |
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


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
