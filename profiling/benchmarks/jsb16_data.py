"""The chorales of the canonical split as a data set of ours, and their cells back from it.

`Jsb16thSeparated.json` holds 229, 76 and 77 pieces for training, validation and test: for each
sixteenth the MIDI pitches of soprano, alto, tenor and bass, -1 for silence. It has no bar lines
and does not tell a held note from a repeated one. Here a bar is sixteen sixteenths, counted from
the beginning of a piece, which are not the music's own bars where it has an upbeat or is not in
4/4. Equal pitches in a row within a bar are one held note. A note begins again with each bar,
since windows keep no note that began before them.
"""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from megatron_music.data.build import build
from megatron_music.data.manifest import MANIFEST_FILE, file_records, read_manifest, sealed
from megatron_music.data.report.verify import verify
from megatron_music.data.settings import SPLITS, BuildSettings
from megatron_music.data.sources.open import Source
from megatron_music.errors import DataError, InputError
from megatron_music.evaluate.corpus import RECORDS_FILE, SplitWindows
from megatron_music.evaluate.voices import CELLS_PER_BAR, CELLS_PER_QUARTER, SILENCE, voice_cells
from megatron_music.score.instruments import VOICES
from megatron_music.score.notes import IntArray, Score, Track
from megatron_music.tokenizer.codec import decode
from megatron_music.tokenizer.places import PLACES_SUFFIX
from megatron_music.tokenizer.vocabulary import Vocabulary

Chorales = dict[str, list[IntArray]]
"""By split, of each piece the cells [4 voices, sixteenths]."""


def read_chorales(path: Path) -> Chorales:
    """Read the JSON file; raises InputError where it is not one of this form."""
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        pieces = {split: [np.array(of, np.int64).T for of in listed[split]] for split in SPLITS}
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise InputError(f"{path}: {fault}; give Jsb16thSeparated.json") from None
    for split, of_split in pieces.items():
        for number, cells in enumerate(of_split):
            sound = cells.ndim == 2 and len(cells) == len(VOICES) and (cells >= 0).any()
            if not sound or cells.min() < SILENCE or cells.max() > 127:
                raise InputError(
                    f"{path}: piece {number} of {split} has shape {cells.shape[::-1]}; expected "
                    "rows of four pitches -1..127, not all of them silent"
                )
    return pieces


@dataclass(frozen=True)
class Chorale:
    """One piece, as the builder reads it."""

    name: str
    cells: IntArray

    def read(self) -> Score:
        """Return the voices that sing; equal pitches in a row within a bar are one note."""
        tracks = []
        bar_lines = np.arange(0, self.cells.shape[1], CELLS_PER_BAR)
        for code, line in zip(VOICES, self.cells, strict=True):
            changes = np.flatnonzero(np.diff(line, prepend=SILENCE - 1, append=SILENCE - 1))
            edges = np.union1d(changes, bar_lines)
            onset, end, pitch = edges[:-1], edges[1:], line[edges[:-1]]
            sings = pitch != SILENCE
            tracks.append(Track(code, onset[sings], end[sings], pitch[sings]))
        return Score(CELLS_PER_QUARTER, tuple(track for track in tracks if len(track)))


def build_data(pieces: Chorales, folder: Path, settings: BuildSettings, workers: int) -> Path:
    """Build the data set of the canonical split, each side by the project's own builder.

    Training music is written as the settings say; the others once, in windows side by side.
    Returns its folder, `folder/data`. Raises DataError where a folder holds another data set.
    """
    data, made = folder / "data", folder / "parts" / "data"
    train = replace(settings, split=(1, 0, 0), density=False, merge=False)
    parts = {}
    for split, of_split in pieces.items():
        chosen = train if split == SPLITS[0] else replace(train, hop=None, transpositions=1)
        items = [Chorale(f"{split}-{i:03d}", cells) for i, cells in enumerate(of_split)]
        parts[split] = folder / "parts" / split
        build(_source(split, items), parts[split], chosen, workers)
    if not data.exists():
        shutil.rmtree(made, ignore_errors=True)
        _assemble(parts, made)
        made.replace(data)
    verify(data)
    return data


def _source(split: str, items: Sequence[Chorale]) -> Source:
    cells = b"".join(item.cells.tobytes() for item in items)
    return Source(
        name=f"jsb16-{split}",
        title="Chorales of J. S. Bach, sixteenths, four voices apart, the canonical split",
        licence="public domain",
        citation="N. Boulanger-Lewandowski, Y. Bengio and P. Vincent, ICML 2012: the split",
        fingerprint=sha256(cells).hexdigest(),
        items=items,
    )


def _assemble(parts: dict[str, Path], folder: Path) -> None:
    """Make one data set of three, each of which has training music alone."""
    folder.mkdir()
    first = parts[SPLITS[0]]
    shutil.copytree(first / "tokenizer", folder / "tokenizer")
    manifests = {split: read_manifest(part) for split, part in parts.items()}
    records = []
    for split, part in parts.items():
        for suffix in (".bin", ".idx", PLACES_SUFFIX):
            shutil.copyfile(part / f"{SPLITS[0]}{suffix}", folder / f"{split}{suffix}")
        for line in (part / RECORDS_FILE).read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            kept = record["outcome"] == "kept"
            records.append(json.dumps({**record, "split": split if kept else None}))
    (folder / RECORDS_FILE).write_text("\n".join(records) + "\n", encoding="utf-8")
    manifest = manifests[SPLITS[0]]
    inputs = [of["inputs"] for of in manifests.values()]
    keys = "".join(of["key"] for of in manifests.values())
    manifest |= {
        "key": sha256(keys.encode()).hexdigest(),
        "inputs": {
            "total": sum(of["total"] for of in inputs),
            "kept": sum(of["kept"] for of in inputs),
            "refused": dict(sum((Counter(of["refused"]) for of in inputs), Counter())),
        },
        "splits": {split: of["splits"][SPLITS[0]] for split, of in manifests.items()},
        "unigram_nats_per_token": {},
    }
    manifest["files"] = file_records(folder)
    text = json.dumps(sealed(manifest), indent=2) + "\n"
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")


def check_cells(pieces: list[IntArray], documents: SplitWindows, vocabulary: Vocabulary) -> None:
    """See that the windows of a split hold every cell of its pieces once; raises DataError."""
    found = [np.full((len(VOICES), -(-of.shape[1] // CELLS_PER_BAR)), 0) for of in pieces]
    for tokens, group, place in zip(
        documents.tokens, documents.groups.tolist(), documents.places.tolist(), strict=True
    ):
        window = voice_cells(decode(tokens, vocabulary))
        first = place[0] * CELLS_PER_BAR
        real = pieces[group][:, first : first + window.shape[1]]
        padded = np.full_like(window, SILENCE)
        padded[:, : real.shape[1]] = real
        bars = slice(place[0], place[0] + window.shape[1] // CELLS_PER_BAR)
        found[group][:, bars] += 1
        if not np.array_equal(window, padded):
            raise DataError(f"a window of piece {group} does not hold what the piece does")
    wrong = [number for number, counts in enumerate(found) if (counts != 1).any()]
    if wrong:
        raise DataError(f"pieces {wrong} are not in exactly one window each; remove the data set")
