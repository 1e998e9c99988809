"""Build a data set folder from a source of music.

Workers write shards under `DIR/.build/<key>/`, in any order; the build joins them in the order of
the source. So the bytes are the same after any interruption. `build_steps.py` has the steps that
music and words share.
"""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from megatron_music.data.build_steps import WORK_FOLDER, Builder, Result
from megatron_music.data.dataset_windows import window_record, with_training_instruments
from megatron_music.data.manifest import (
    FORMAT,
    MANIFEST_FILE,
    TOKENIZER_FOLDER,
    describe,
    key_of,
    source_record,
    split_record,
    write_manifest,
)
from megatron_music.data.records import RECORDS_FILE
from megatron_music.data.report.card import card
from megatron_music.data.settings import SPLITS, BuildSettings
from megatron_music.data.shards.grid_cost import grid_cost
from megatron_music.data.shards.make import Task, encode_shards
from megatron_music.data.shards.scan import (
    DatasetPlan,
    near_duplicates,
    scan_shards,
    syllable_pieces,
)
from megatron_music.data.shards.write import write_tokens
from megatron_music.data.sources.folder import names_of, with_tunes
from megatron_music.data.sources.item import Item, contents
from megatron_music.data.sources.labels import Labelled, label
from megatron_music.data.sources.open import Source
from megatron_music.data.split import weights_for_few
from megatron_music.data.workers.limits import WorkerDied
from megatron_music.data.workers.local import LocalWorkers, Workers, open_workers
from megatron_music.errors import DataError
from megatron_music.formatting import counted
from megatron_music.progress import Stage, silent_stage
from megatron_music.score.notation import is_score
from megatron_music.tokenizer.huggingface import save_tokenizer
from megatron_music.tokenizer.vocabulary import VERSION, vocabulary_of

LARGEST_SHARD = 512
"""The most pieces of a shard times their keys: a worker holds a shard in memory."""

SCORES_PER_SHARD = 8
"""The same for notation: music21 takes seconds a piece, and progress counts shards."""

_SMALLEST_SHARD = 64
_SHARDS = 16  # at least, of the pieces that are left to encode


class MusicBuilder(Builder):
    """A data set of the pieces of a source.

    The shards are kept in the work folder until the data set is complete: an interrupted build
    encodes only those that are missing.
    """

    def __init__(
        self, source: Source, settings: BuildSettings, stage: Stage, workers: Workers | None = None
    ) -> None:
        self.source, self.settings, self.stage = source, settings, stage
        self.workers = workers or LocalWorkers(1)
        self.key = key_of(
            {
                "format": FORMAT,
                "vocabulary": VERSION,
                "source": source.fingerprint,
                "settings": settings.record(),
            }
        )
        # Another work folder once a file of the source is written to: its shards are outdated.
        stamped = f"{self.key} {source.stamp}"
        self.work_name = hashlib.sha256(stamped.encode()).hexdigest()[:16]
        # On this machine only: network file systems may lose writes into one file from several.
        self._writers = self.workers if self.workers.local else LocalWorkers(1)
        self._used: list[Path] = []

    def make(self, work: Path) -> Path:
        """Encode all pieces and write the files of the data set below a folder; return theirs."""
        work.mkdir(exist_ok=True)
        found = self.scan(work)
        # After the scan: only then is the place of each shard in the files known.
        self._write(found)
        self._used = [share.shard for share in found.shares]
        return found.folder

    def clean_up(self, work: Path) -> None:
        """Remove the shards by several workers, since removing gigabytes takes time."""
        with suppress(WorkerDied, OSError):
            for _ in self._writers.run(os.unlink, self._used):
                pass
        super().clean_up(work)

    def difference(self, manifest: dict[str, Any]) -> str:
        """Return the settings of another data set that differ from these."""
        # Through JSON, as those of the manifest: else tuples would differ from lists.
        usual, asked = (
            json.loads(json.dumps(vars(settings))) for settings in (BuildSettings(), self.settings)
        )
        there = usual | manifest["settings"]
        different = [
            f"{name} {there[name]} (asked: {asked.get(name)})"
            for name in there
            if there[name] != asked.get(name) and name != "pieces"
        ]
        if there["pieces"] != asked["pieces"]:
            kinds = {False: "stored windows", True: "whole pieces"}
            different.insert(0, f"{kinds[there['pieces']]} (asked: {kinds[asked['pieces']]})")
        return ", ".join(different) or "another source, or the same with other contents"

    def is_current(self, manifest: dict[str, Any], folder: Path) -> bool:
        """Tell whether a data set was built of the contents that its source has now.

        A manifest has the date of its source. A source of another date, such as a copy, is read to
        see whether its contents are the same.
        """
        if manifest["key"] != self.key:
            return False
        path = folder / MANIFEST_FILE
        if self.source.changed_ns in {0, path.stat().st_mtime_ns}:
            return True
        work = folder / WORK_FOLDER / "compare"
        items = self._listed(work)
        with self.stage(f"compare {self.source.name}", "pieces") as progress:
            same: bool = contents(items, progress) == manifest["source"]["contents"]
        shutil.rmtree(work, ignore_errors=True)
        if same:
            with suppress(OSError):  # the folder may be one that can only be read
                self._date(path)
        return same

    def scan(self, work: Path) -> DatasetPlan:
        """Encode all pieces into shards below a folder, and scan the shards.

        Pieces are encoded twice if their syllables must be learned first, or if they are few and a
        split is empty: then with weights that give each split some. Raises DataError if there is
        nothing to train on, and UsageError for labels that do not fit.
        """
        items = self._listed(work)
        # Labels become words of the vocabulary: they must be known before anything is encoded.
        settings, labelled = self.settings, None
        if self.source.labels or settings.attributes:
            labelled = label(self.source.labels, names_of(items), settings.attributes)
        if labelled is not None:
            settings = dataclasses.replace(settings, attributes=labelled.words)
        learns = settings.lyrics and settings.syllable_pieces and not settings.learned_pieces
        if learns:
            # Of whole pieces, so that windows of the same music are spelled alike.
            bare = dataclasses.replace(settings, pieces=True)
            title = f"learn syllables of {self.source.name}"
            plan = self._encode(items, bare, work / "syllables", labelled, title)
            pieces = syllable_pieces(plan, settings.syllable_pieces)
            settings = dataclasses.replace(settings, learned_pieces=pieces)
        found = self._encode(items, settings, work, labelled)
        splits = zip(settings.split, found.splits.values(), strict=True)
        if found.words and any(weight and not split.pieces for weight, split in splits):
            dealt = weights_for_few(found.words, settings.split)
            settings = dataclasses.replace(settings, split=dealt)
            title = f"read {self.source.name} again, so that each split has pieces"
            found = self._encode(items, settings, work / "few", labelled, title)
        records = found.folder / RECORDS_FILE
        found.grid = grid_cost(items, records, settings.steps_per_quarter, settings.bars)
        if not found.splits[SPLITS[0]].pieces:
            # Not to be found again: the files may have been unreadable for a while.
            shutil.rmtree(work, ignore_errors=True)
            raise DataError(_nothing_to_train_on(found.kept, dict(found.refused)))
        if labelled is not None:
            found.labels = labelled.record(found.is_kept)
        return found

    def _listed(self, work: Path) -> Sequence[Item]:
        """Return the pieces; the music of an archive is unpacked into `work`."""
        source = self.source
        if source.index is None:
            return with_tunes(source.items)
        work.mkdir(parents=True, exist_ok=True)
        try:
            with self.stage(f"open {source.name}", "MB") as progress:
                return with_tunes(source.index(work, progress))
        except DataError:  # the part that was unpacked before is useless
            shutil.rmtree(work, ignore_errors=True)
            raise

    def _encode(
        self,
        items: Sequence[Item],
        settings: BuildSettings,
        work: Path,
        labelled: Labelled | None,
        title: str = "",
    ) -> DatasetPlan:
        """Encode pieces into shards; scan the first while workers make the next."""
        work.mkdir(exist_ok=True)
        # A worker holds a whole shard in memory, once in each key.
        most = min(self.source.items_per_shard, LARGEST_SHARD // len(settings.cut.shifts))
        if any(map(is_score, names_of(items))):
            most = min(most, SCORES_PER_SHARD)
        # The last shards are small, so that all workers end at about the same time.
        cuts = [0]
        while left := len(items) - cuts[-1]:
            cuts.append(cuts[-1] + min(left, most, max(_SMALLEST_SHARD, left // _SHARDS)))
        tasks = [
            Task(
                work / f"shard-{start:08d}-{end:08d}",
                items[start:end],
                settings,
                labels=None if labelled is None else labelled.of_pieces[start:end],
            )
            for start, end in pairwise(cuts)
        ]
        # The files of an interrupted scan cannot be continued; writing them again takes little.
        final = work / "final"
        shutil.rmtree(final, ignore_errors=True)
        final.mkdir()
        with self.stage(title or f"read {self.source.name}", "pieces") as progress:
            shards = encode_shards(tasks, self.workers, progress)
            finished = ((task.path, names_of(task.items)) for task in shards)
            if not settings.quality:
                return scan_shards(finished, settings, final)
            # Near duplicates are known only once all pieces have been read.
            whole = list(finished)
            near = near_duplicates(path for path, _ in whole)
            return scan_shards(whole, settings, final, near)

    def _write(self, found: DatasetPlan) -> None:
        """Write the files of the data set that the scan has not written."""
        folder = found.folder
        with self.stage("write", "shards") as progress:
            token_counts, hashes = write_tokens(found, self._writers, progress)
        # Only now: the combinations of instruments are read from the windows just written.
        train = folder / SPLITS[0]
        found.tokenizer = with_training_instruments(found.tokenizer, train, self.settings)
        save_tokenizer(found.tokenizer, folder / TOKENIZER_FOLDER)
        vocabulary = vocabulary_of(found.tokenizer)
        manifest = {
            "format": FORMAT,
            "key": self.key,
            **describe(
                source_record(self.source) | {"contents": found.contents},
                self.settings.record(),
                vocabulary,
                found.kept,
                found.refused,
                {
                    name: split_record(
                        split.pieces, split.lengths, whole_pieces=self.settings.pieces
                    )
                    for name, split in found.splits.items()
                },
                token_counts,
                found.labels,
            ),
            "grid": None if found.grid is None else found.grid.as_json(),
        }
        if self.settings.pieces:
            manifest["windows"] = window_record(found.tokenizer, train, self.settings)
        lengths = [split.lengths for split in found.splits.values()]
        page = card(manifest, vocabulary, token_counts.values(), lengths, found.piece_bars)
        self._date(write_manifest(folder, manifest, page, hashes))

    def _date(self, manifest: Path) -> None:
        """Give a manifest the date of its source, which `is_current` compares."""
        if self.source.changed_ns:
            os.utime(manifest, ns=(self.source.changed_ns, self.source.changed_ns))


def build(
    source: Source,
    folder: Path,
    settings: BuildSettings | None = None,
    workers: int | None = 1,
    force: bool = False,
    stage: Stage = silent_stage,
    backend: str = "local",
) -> Result:
    """Build a data set, or resume a build that was interrupted, or find it up to date.

    `workers` and `backend` are those of `open_workers`; for several, the items of a source must be
    of a class that can be imported, not one of a script or notebook. Raises UsageError where the
    folder holds something else (unless `force`), DataError where another build is running there or
    there is nothing to train on, WriteError where the folder cannot be written.
    """
    # Before the folder is touched, so that a wrong number or backend changes nothing there.
    pool = open_workers(backend, workers)
    builder = MusicBuilder(source, settings or source.preferred, stage, pool)
    return builder.build(folder, force)


def _nothing_to_train_on(kept: int, refused: dict[str, int]) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in refused.items()) or "none"
    if not kept:
        cure = "--metre any keeps other metres, --bars fewer shorter pieces; else give other music"
        cure = cure if "metre" in refused else "give other music"
        return f"nothing to train on: no piece could be kept; refused: {reasons}; {cure}"
    return (
        f"nothing to train on: {counted(kept, 'piece')} kept, all for validation and test; "
        f"refused: {reasons}; give more music, or --split 100,0,0"
    )
