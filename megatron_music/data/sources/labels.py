"""Labels of pieces, such as composer and genre, and their tokens.

    labels = read_labels(Path("labels.csv"))
    labelled = label(labels, names_of_pieces)

A label is a word of the vocabulary, `COMPOSER=BACH`. Each family has one for unknown labels, which
also replaces those that are dropped while training.
"""

import csv
import hashlib
import io
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from megatron_music.errors import UsageError
from megatron_music.formatting import counted
from megatron_music.tokenizer.attributes import UNKNOWN, as_word, family_of

MOST_LABELS = 4_000
"""The limit for all families together; a table with a column of titles exceeds it."""

LARGEST_TABLE_BYTES = 256_000_000
_OF_TOKENS = (
    *("NOTE_ON", "NOTE_OFF", "TIME_DELTA", "INST", "DENSITY"),
    *("METRE", "VELOCITY", "TEMPO", "SYLLABLE"),
)
_TUNE = re.compile(r"#\d+$")
_SUFFIX = re.compile(r"\.[^./]*?(?=(#\d+)?$)")
_DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab"}


@dataclass(frozen=True)
class Labels:
    """A source of labels: a table with a label of each family for each name, or folder names.

    `rows` maps the names of files or folders to labels. With `by_folder` the label of a piece is
    the first of its folders that not all pieces share. `table` names the file of the rows.
    """

    families: tuple[str, ...]
    rows: Mapping[str, tuple[str, ...]]
    by_folder: bool = False
    table: str = ""

    @property
    def fingerprint(self) -> str:
        """A hash of all that decides which piece has which label."""
        facts = (self.families, sorted(self.rows.items()), self.by_folder)
        return hashlib.sha256(repr(facts).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True)
class Labelled:
    """The `words` of a vocabulary, and the index of each piece's labels [pieces, families].

    `without` marks the pieces without a row in a table, `loose` those without a folder of their
    own. `absent` rows name no piece; `first_absent` is the first of them. `new` labels are not in
    the vocabulary of the other data set.
    """

    words: tuple[str, ...]
    of_pieces: npt.NDArray[np.int64]
    without: npt.NDArray[np.bool_]
    loose: npt.NDArray[np.bool_]
    absent: int = 0
    first_absent: str = ""
    new: tuple[str, ...] = ()

    def record(self, kept: npt.NDArray[np.bool_]) -> dict[str, object]:
        """Return what a manifest keeps of it; pieces that are not `kept` are not counted."""
        return {
            "without": int(np.count_nonzero(self.without & kept)),
            "loose": int(np.count_nonzero(self.loose & kept)),
            "absent": self.absent,
            "first_absent": self.first_absent,
            "new": self.new,
        }


def read_labels(path: Path) -> Labels:
    """Read a table of labels: a header, then a row a file or folder; raises UsageError."""
    ((_, header), *rows), between = _read_table(path)
    hint = "its first line names the columns, as in file,composer,genre"
    if len(header) < 2:
        raise UsageError(f"{path} has one column; {hint}")
    families = tuple(map(as_word, header[1:]))
    for column, family in zip(header[1:], families, strict=True):
        if family == UNKNOWN:
            raise UsageError(f"{path} has a column without a name ({column!r}); {hint}")
        check_family(family)
    if len(set(families)) < len(families):
        raise UsageError(f"{path} has two columns of one name ({', '.join(families)}); {hint}")
    for sign, words in _DELIMITERS.items():
        if rows and all(len(row) == 1 and sign in row[0] for _, row in rows):
            raise UsageError(
                f"{path} has {words} between the cells of its rows, and its first line has "
                f"{between}; write the same sign throughout"
            )
    named: dict[str, tuple[str, ...]] = {}
    lines: dict[str, int] = {}
    for line, row in rows:
        if len(row) > len(header):
            raise UsageError(
                f"{path}, line {line}: {len(row)} cells under {len(header)} columns; put quotes "
                f"around what holds {between}"
            )
        name = _plain(row[0])
        # A row may end early: what it leaves out is unknown.
        cells = [*row[1:], *[""] * (len(header) - len(row))]
        labels = tuple(map(as_word, cells))
        if named.get(name, labels) != labels:
            raise UsageError(
                f"{path}, line {line}: {name!r} has other labels on line {lines[name]}; keep one"
            )
        named[name] = labels
        lines.setdefault(name, line)
    # Kept to tell a table without a header from one whose names are wrong.
    return Labels(families, named, table=f"{path}\n{_plain(header[0])}")


def _read_table(path: Path) -> tuple[list[tuple[int, list[str]]], str]:
    """Return the rows of a table with their lines, and what is between the cells, in words.

    The header is first; empty rows are left out.
    """
    try:
        if path.stat().st_size > LARGEST_TABLE_BYTES:
            raise UsageError(f"{path} has over {LARGEST_TABLE_BYTES >> 20} MB; give fewer labels")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as fault:
        raise UsageError(f"cannot read {path}: {fault.strerror}; give a CSV of labels") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text; save it as CSV in UTF-8") from None
    # Spreadsheets write semicolons where the comma is the decimal sign. Where the header has as
    # many of several signs, the rows tell.
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(_DELIMITERS, key=lambda sign: (first.count(sign), text.count(sign)))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as fault:
        raise UsageError(f"{path}, line {reader.line_num}: {fault}; mend the table") from None
    if not rows:
        raise UsageError(f"{path} is empty; its first line names the columns: file,composer,genre")
    return rows, _DELIMITERS[delimiter]


def check_family(family: str) -> None:
    """Raise UsageError for a family of labels that tokens have already."""
    if family in _OF_TOKENS:
        raise UsageError(f"{family} names tokens already; call the labels something else")


def folder_labels(family: str = "FOLDER") -> Labels:
    """Label each piece by its first folder; raises UsageError for a family that is taken."""
    check_family(family)
    return Labels((family,), {}, by_folder=True)


def joined(parts: Sequence[Labels]) -> tuple[Labels, ...]:
    """Return several sources of labels as one list; raises UsageError where they share a family."""
    families = [family for part in parts for family in part.families]
    for family in families:
        if families.count(family) > 1:
            raise UsageError(
                f"{family} comes from two places; rename the column, or leave one of them out"
            )
    return tuple(parts)


def label(
    parts: Sequence[Labels], names: Sequence[str], vocabulary: Sequence[str] = ()
) -> Labelled:
    """Give pieces of these names their labels; raises UsageError for a table of something else.

    With a `vocabulary`, that of another data set, labels that are none of its words are unknown.
    """
    plain = [_plain(name) for name in names]
    columns: dict[str, list[str]] = {}
    without, loose = np.zeros((2, len(names)), np.bool_)
    absent: list[str] = []
    for part in parts:
        if part.by_folder:
            rows = _first_folders(plain)
            loose |= np.array([row is None for row in rows], np.bool_)
        else:
            rows, unused = _rows_of_pieces(part, plain)
            without |= np.array([row is None for row in rows], np.bool_)
            absent += unused
        for place, family in enumerate(part.families):
            columns[family] = [UNKNOWN if row is None else row[place] for row in rows]
    # Given words keep their order: it is the order of token ids.
    known = tuple(vocabulary) or _vocabulary(columns)
    places = {word: place for place, word in enumerate(known)}
    families = list(dict.fromkeys(map(family_of, known)))
    of_pieces = np.zeros((len(names), len(families)), np.int64)
    new: dict[str, None] = {}
    for column, family in enumerate(families):
        unknown = f"{family}={UNKNOWN}"
        words = [f"{family}={text}" for text in columns.get(family, ())] or [unknown]
        of_pieces[:, column] = [places.get(word, places[unknown]) for word in words]
        new |= dict.fromkeys(word for word in words if word not in places)
    new |= {family: None for family in columns if family not in families}
    first_absent = next(iter(absent), "")
    return Labelled(known, of_pieces, without, loose, len(absent), first_absent, tuple(new))


def _first_folders(names: Sequence[str]) -> list[tuple[str, ...] | None]:
    """Return of each piece the first of its folders that not all share, as a row of one label."""
    folders = [name.split("/")[:-1] for name in names]
    depth = 0
    # An archive often has one folder around all: it tells nothing apart.
    while any(len(of) > depth + 1 for of in folders) and all(
        len(of) > depth and of[depth] == folders[0][depth] for of in folders
    ):
        depth += 1
    if names and not any(len(of) > depth for of in folders):
        raise UsageError(
            f"--attributes-from folders: none of the {counted(len(names), 'piece')} is in a "
            "folder; sort them into folders, or give --attributes a table"
        )
    return [(as_word(of[depth]),) if len(of) > depth else None for of in folders]


def _rows_of_pieces(
    table: Labels, names: Sequence[str]
) -> tuple[list[tuple[str, ...] | None], list[str]]:
    """Return the row of each piece, and the names of the rows that no piece has."""
    found = [next((key for key in _keys(name) if key in table.rows), None) for name in names]
    # Without a header a table would lose its first row. Compared with some names: there may be
    # millions.
    path, _, header = table.table.partition("\n")
    if path and any(key == header for name in names[:10_000] for key in _keys(name)):
        raise UsageError(
            f"{path} begins with {header!r}, which is a piece; its first line names the columns, "
            "as in file,composer,genre"
        )
    used = set(found)
    if path and names and used == {None}:
        raise UsageError(
            f"{path} names none of the {counted(len(names), 'piece')}; its first column takes "
            f"names such as {names[0]!r}"
        )
    rows = [None if key is None else table.rows[key] for key in found]
    return rows, [name for name in table.rows if name not in used]


def _vocabulary(columns: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the words of all families, in each the unknown label first, then by name."""
    words = tuple(
        f"{family}={text}"
        for family, texts in columns.items()
        for text in (UNKNOWN, *sorted(set(texts) - {UNKNOWN}))
    )
    if len(words) > MOST_LABELS:
        family = max(columns, key=lambda name: len(set(columns[name])))
        raise UsageError(
            f"{len(words)} different labels, {len(set(columns[family]))} of them {family}; up to "
            f"{MOST_LABELS} can be learned: leave that column out"
        )
    return words


def _keys(name: str) -> Iterator[str]:
    """Give the names that a row may call a piece by, the closest first, then its folders."""
    file = _TUNE.sub("", name)
    for path in dict.fromkeys((name, name.rpartition("/")[2], file, file.rpartition("/")[2])):
        yield path
        yield _SUFFIX.sub("", path)
    folders = file.split("/")[:-1]
    for last in range(len(folders), 0, -1):
        yield "/".join(folders[:last])
        yield folders[last - 1]


def _plain(name: str) -> str:
    """Return a name as names are compared: composed letters, plain slashes, nothing around it."""
    parts = [part for part in name.strip().replace("\\", "/").split("/") if part not in {"", "."}]
    return unicodedata.normalize("NFC", "/".join(parts))
