"""Write the windows of a data set of whole pieces as a data set of its own.

It is the data set that `build` makes of the same source with `pieces` off. Stock Megatron-LM needs
it, since it draws no windows. No music is read again.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from megatron_music.data.build import MusicBuilder
from megatron_music.data.build_steps import Result
from megatron_music.data.indexed import IndexedReader, documents_in
from megatron_music.data.manifest import read_manifest
from megatron_music.data.records import KEPT, RECORDS_FILE, FileRecord
from megatron_music.data.settings import SPLITS, BuildSettings, choose
from megatron_music.data.shards.encode_piece import (
    EncodedPiece,
    in_keys,
    with_hidden_bars,
)
from megatron_music.data.shards.grid_cost import GridCost
from megatron_music.data.shards.scan import DatasetPlan, scan_shards
from megatron_music.data.shards.shard_file import write_shard
from megatron_music.data.sources.open import Source
from megatron_music.errors import DataError, UsageError
from megatron_music.progress import Progress, Stage, silent_stage
from megatron_music.score.hashing import track_order
from megatron_music.score.instruments import INSTRUMENT_COUNT, instrument_name
from megatron_music.score.quantize import window_starts
from megatron_music.tokenizer.document_columns import document_columns
from megatron_music.tokenizer.places_in_piece import UNKNOWN, load_places
from megatron_music.tokenizer.vocabulary import TokenArray, Vocabulary, load_vocabulary
from megatron_music.tokenizer.windows import windows_at

_PIECES_PER_SHARD = 256


def convert(
    pieces: Path,
    folder: Path,
    chosen: Mapping[str, Any],
    force: bool = False,
    stage: Stage = silent_stage,
) -> Result:
    """Write a data set of windows of a data set of pieces; `chosen` are settings of the build.

    The bytes are those of a build with these settings from the same source, unless a piece has
    metres that are left out: its stretches are those of the data set of pieces. Raises DataError,
    UsageError and WriteError, as `build` does.
    """
    manifest = read_manifest(pieces)
    source_folder, target = pieces.resolve(), folder.resolve()
    # With `force` the old data set would go, and windows cannot be joined to pieces again.
    if source_folder == target or target in source_folder.parents:
        raise UsageError(f"{folder} holds the pieces themselves; name another folder with -o")
    if not manifest["settings"].get("pieces"):
        raise UsageError(
            f"{pieces} holds windows of {manifest['settings']['bars']} bars, not whole pieces; "
            "give a data set that was built with --pieces"
        )
    values: dict[str, Any] = {
        name: tuple(of) if isinstance(of, list) else of for name, of in manifest["settings"].items()
    }
    try:
        built = BuildSettings(**values)
    except TypeError as fault:
        raise DataError(f"the manifest's settings are damaged ({fault}); build it again") from None
    settings = choose(built, {**chosen, "pieces": False})
    of = manifest["source"]
    source = Source(of["name"], of["title"], of["licence"], of["citation"], of["fingerprint"], ())
    return Conversion(pieces, manifest, source, settings, stage).build(folder, force)


class Conversion(MusicBuilder):
    """A data set of windows whose pieces come from another data set, not from their source."""

    def __init__(
        self,
        pieces: Path,
        manifest: Mapping[str, Any],
        source: Source,
        settings: BuildSettings,
        stage: Stage,
    ) -> None:
        super().__init__(source, settings, stage)
        self._pieces, self._manifest = pieces, manifest

    def scan(self, work: Path) -> DatasetPlan:
        """Cut all pieces into shards of windows, and scan the shards."""
        pieces, manifest = self._pieces, self._manifest
        vocabulary = load_vocabulary(pieces / "tokenizer")
        # Labels and pieces of words are in the tokens already; they must keep their numbers.
        inner = choose(
            self.settings,
            {
                "attributes": vocabulary.settings.attributes,
                "learned_pieces": vocabulary.settings.syllable_pieces,
            },
        )
        final = work / "final"
        final.mkdir(parents=True, exist_ok=True)
        listed = pieces / RECORDS_FILE
        try:
            with listed.open(encoding="utf-8") as lines:
                rows = [json.loads(line) for line in lines]
            told: list[dict[str, Any]] = [
                {name: "" if of is None else of for name, of in row.items()} for row in rows
            ]
            records = [FileRecord(**row) for row in told]
        except (OSError, ValueError, TypeError, AttributeError) as fault:
            raise DataError(f"{listed} is damaged ({fault}); build the data set again") from None
        with self.stage(f"cut {self.source.name}", "pieces") as progress:
            shards = _shards(pieces, records, inner, vocabulary, work, progress)
            found = scan_shards(shards, inner, final)
        # As if built from the source, so that a build of that finds it up to date.
        found.contents = manifest["source"]["contents"]
        found.labels = manifest.get("labels", {})
        grid = manifest.get("grid")
        if grid is not None:
            found.grid = GridCost(**{name: grid[name] for name in GridCost.__dataclass_fields__})
        return found


def _shards(
    pieces: Path,
    records: list[FileRecord],
    settings: BuildSettings,
    vocabulary: Vocabulary,
    work: Path,
    progress: Progress,
) -> Iterator[tuple[Path, list[str]]]:
    """Write shards of windows; give each as soon as it is there."""
    splits = {name: _PiecesOfSplit(pieces, name) for name in SPLITS}
    for done in range(0, len(records), _PIECES_PER_SHARD):
        part = records[done : done + _PIECES_PER_SHARD]
        encoded = [
            splits[of.split].cut(of, settings, vocabulary)
            if of.outcome == KEPT
            else EncodedPiece(of)
            for of in part
        ]
        path = work / f"shard-{done:08d}"
        write_shard(path, encoded, b"")
        progress(done + len(part), len(records))
        yield path, [of.name for of in part]


class _PiecesOfSplit:
    """Reads the pieces of one split one after another, and cuts them into windows."""

    def __init__(self, folder: Path, split: str) -> None:
        self._folder, self._split = folder, split
        self._reader = IndexedReader(folder / split)
        self._places = load_places(folder / split, len(self._reader))
        self._next = 0

    def cut(
        self, record: FileRecord, settings: BuildSettings, vocabulary: Vocabulary
    ) -> EncodedPiece:
        """Return the windows of the next piece, in all keys."""
        # Documents have the order of files.jsonl, which says how many each piece has.
        first, self._next = self._next, self._next + record.documents
        if self._next > len(self._reader):
            raise DataError(
                f"{self._folder / RECORDS_FILE} names more pieces than {self._split}.idx has; "
                "build the data set again"
            )
        shifts = settings.shifts if record.split == SPLITS[0] else range(1)
        found = []
        # Of each instrument the most tracks that one stretch of the piece has.
        instruments = np.zeros(INSTRUMENT_COUNT, np.int64)
        for stretch in range(first, self._next):
            tokens = np.asarray(self._reader[stretch], np.uint16)
            codes = tokens.astype(np.int64) - vocabulary.inst
            played = codes[(codes >= 0) & (codes < INSTRUMENT_COUNT)]
            instruments = np.maximum(instruments, np.bincount(played, minlength=INSTRUMENT_COUNT))
            before = 0 if self._places is None else int(self._places[stretch, 0])
            laid = int(np.count_nonzero(tokens == vocabulary.bar_start))
            laid //= max(1, int(np.count_nonzero(tokens == vocabulary.track_start)))
            firsts = np.array(window_starts(0, laid, settings.bars, settings.hop_bars), np.int64)
            bars = np.minimum(settings.bars, laid - firsts)
            cut = windows_at(documents_in(self._reader, range(stretch, stretch + 1)), firsts, bars,
                             vocabulary)  # fmt: skip
            for start, window in zip(firsts.tolist(), cut, strict=True):
                if len(window):
                    found.append((start + max(before, UNKNOWN + 1), window))
        arranged = (
            (*_arranged(window, record.fingerprint, index, settings, vocabulary), start)
            for index, (start, window) in enumerate(found)
        )
        documents = document_columns(in_keys(arranged, shifts, vocabulary))
        record.windows, record.documents = len(found), len(documents.lengths)
        record.tokens = len(documents.tokens)
        codes = np.repeat(np.arange(INSTRUMENT_COUNT), instruments)
        record.instruments = tuple(map(instrument_name, codes.tolist()))
        encoded = EncodedPiece(record, documents)
        return with_hidden_bars(encoded, settings, vocabulary) if settings.fill else encoded


def _arranged(
    window: TokenArray, music: str, index: int, settings: BuildSettings, vocabulary: Vocabulary
) -> tuple[TokenArray, npt.NDArray[np.float64]]:
    """Put the tracks of a window in the build's order; return it and the notes a bar of each."""
    starts = np.flatnonzero(window == vocabulary.track_start)
    head, *tracks = np.split(window[:-1], starts)
    if settings.shuffle:
        order = track_order(settings.seed, music, index, len(tracks))
        tracks = [tracks[i] for i in order]
    tracks = tracks[: settings.max_tracks]
    bars = int(np.count_nonzero(tracks[0] == vocabulary.bar_start))
    first, last = vocabulary.note_on, vocabulary.note_off
    notes = [np.count_nonzero((track >= first) & (track < last)) for track in tracks]
    return np.concatenate([head, *tracks, window[-1:]]), np.array(notes, np.float64) / bars
