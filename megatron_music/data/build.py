"""From a source of music to a data set folder: the same bytes however it is interrupted.

Shards are made under `DIR/.build/<key>/` by any number of workers, joined in the order of the
source, and only what is complete gets its final name: the manifest last.
"""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from megatron_music.data.card import card
from megatron_music.data.contents import Contents
from megatron_music.data.dedup import weights_for_few
from megatron_music.data.folders import names_of
from megatron_music.data.grid_cost import grid_cost
from megatron_music.data.instrumentation import with_instrumentations
from megatron_music.data.items import Item, contents
from megatron_music.data.join import join
from megatron_music.data.labels import Labelled, label
from megatron_music.data.manifest import (
    MANIFEST_FILE,
    build_key,
    describe,
    file_records,
    read_manifest,
    sealed,
)
from megatron_music.data.outcomes import OUTCOMES_FILE
from megatron_music.data.place import (
    CARD_FILE,
    TOKENIZER_FOLDER,
    WORK_FOLDER,
    Result,
    busy,
    check_place,
    publish,
)
from megatron_music.data.pool import encode_shards
from megatron_music.data.settings import SPLITS, BuildSettings
from megatron_music.data.shards import Task
from megatron_music.data.sources import Source
from megatron_music.data.survey import Finished, Survey, near_duplicates, survey
from megatron_music.data.tunes import with_tunes
from megatron_music.data.workers import LocalWorkers, WorkerDied, Workers, open_workers
from megatron_music.errors import DataError, UsageError, WriteError
from megatron_music.files import file_lock, find_damaged, os_error_reason
from megatron_music.progress import Stage, silent_stage
from megatron_music.score.score_file import is_score
from megatron_music.tokenizer.huggingface import save_tokenizer
from megatron_music.tokenizer.vocabulary import vocabulary_of
from megatron_music.wording import counted

LARGEST_SHARD = 512
"""Pieces of a shard, counted once for each key: what a worker holds in memory."""

SCORES_PER_SHARD = 8
"""Of sources with notation: music21 takes seconds a piece, and progress waits for a shard."""

_SMALLEST_SHARD = 64
_SHARDS = 16  # what is left makes so many at least


Read = Callable[[Source, BuildSettings, Workers, Path, Stage], Survey]
"""Encodes all pieces into shards in a folder, and looks through these."""


def build(
    source: Source,
    folder: Path,
    settings: BuildSettings | None = None,
    workers: int | None = 1,
    force: bool = False,
    stage: Stage = silent_stage,
    backend: str = "local",
    read: Read | None = None,
) -> Result:
    """Build a data set, or go on with one that was interrupted, or find it up to date.

    `workers` and `backend` are those of `open_workers`; for several, the items of a source must be
    of a class that can be imported, not one of a script or notebook. `read` encodes the pieces in
    another way than from their source. Raises UsageError where the
    folder holds something else (unless `force`), DataError where a build is at work there,
    WriteError where it cannot be written.
    """
    settings = settings or source.preferred
    pool = open_workers(backend, workers)
    check_place(folder)
    try:
        finished = None if force else _finished(folder, source, settings, stage)
        if finished is not None and not (folder / WORK_FOLDER).exists():
            return Result(finished, True)
        with file_lock(folder / WORK_FOLDER / "lock", busy(folder)):
            if finished is None:
                # Not on several machines: their file systems may share a file's blocks badly.
                here = pool if pool.local else LocalWorkers(1)
                # Shards of files that have been written to since are not the same shards.
                key = f"{build_key(source, settings)} {source.stamp}"
                work = folder / WORK_FOLDER / hashlib.sha256(key.encode()).hexdigest()[:16]
                found = (read or _read)(source, settings, pool, work, stage)
                _write(source, settings, found, here, stage)
                publish(found.folder, folder)
                _remove([share.shard for share in found.shares], here)
            shutil.rmtree(folder / WORK_FOLDER, ignore_errors=True)
    except OSError as fault:
        raise WriteError(
            f"cannot write the data set {folder}: {os_error_reason(fault)}; make room or choose "
            "another place, the same command goes on from what is saved"
        ) from fault
    return Result(finished or read_manifest(folder), finished is not None)


def _finished(
    folder: Path, source: Source, settings: BuildSettings, stage: Stage
) -> dict[str, Any] | None:
    """Return the manifest of a data set that needs no work; raises UsageError if it is another."""
    if not (folder / MANIFEST_FILE).exists():
        return None
    manifest = read_manifest(folder)
    if manifest["key"] != build_key(source, settings) or not _holds(folder, source, stage):
        raise UsageError(
            f"{folder} holds a data set of {_difference(manifest, settings)}; "
            "give another folder with -o (--force would replace that data set)"
        )
    sizes = {name: record["bytes"] for name, record in manifest["files"].items()}
    return None if find_damaged(folder, sizes) else manifest


def _holds(folder: Path, source: Source, stage: Stage) -> bool:
    """Tell whether a data set was built of the contents that its source has now.

    A manifest is dated as its source is. A source of another date, such as a copy, is read to see
    whether it is another.
    """
    path = folder / MANIFEST_FILE
    if source.changed_ns in {0, path.stat().st_mtime_ns}:
        return True
    work = folder / WORK_FOLDER / "compare"
    items = _listed(source, work, stage)
    with stage(f"compare {source.name}", "pieces") as progress:
        same: bool = contents(items, progress) == read_manifest(folder)["source"]["contents"]
    shutil.rmtree(work, ignore_errors=True)
    if same:
        with suppress(OSError):  # it may be read alone
            _date(path, source)
    return same


def _listed(source: Source, work: Path, stage: Stage) -> Sequence[Item]:
    """Return the pieces of a source; an archive is opened for it, with what it needs in `work`."""
    if source.index is None:
        return with_tunes(source.items)
    work.mkdir(parents=True, exist_ok=True)
    try:
        with stage(f"open {source.name}", "MB") as progress:
            return with_tunes(source.index(work, progress))
    except DataError:  # what was unpacked of it so far is of no use
        shutil.rmtree(work, ignore_errors=True)
        raise


def _date(manifest: Path, source: Source) -> None:
    if source.changed_ns:
        os.utime(manifest, ns=(source.changed_ns, source.changed_ns))


def _difference(manifest: dict[str, Any], settings: BuildSettings) -> str:
    there, asked = manifest["settings"], json.loads(json.dumps(settings.record()))
    different = [
        f"{name} {there.get(name)} (asked: {asked.get(name)})"
        for name in {**asked, **there}
        if there.get(name) != asked.get(name)
    ]
    return ", ".join(different) or "another source, or the same with other contents"


def _read(
    source: Source, settings: BuildSettings, pool: Workers, work: Path, stage: Stage
) -> Survey:
    """Encode all pieces; once more where they are few and none has fallen to one of the sides.

    Raises DataError where there is nothing to train on.
    """
    work.mkdir(exist_ok=True)
    items = _listed(source, work, stage)
    labelled = _label(source, items, settings)
    if labelled is not None:
        settings = dataclasses.replace(settings, attributes=labelled.words)
    found = _read_items(source, items, settings, pool, work, stage, labelled)
    sides = zip(settings.split, found.sides.values(), strict=True)
    if found.words and any(weight and not side.pieces for weight, side in sides):
        dealt = weights_for_few(found.words, settings.split)
        settings = dataclasses.replace(settings, split=dealt)
        found = _read_items(source, items, settings, pool, work / "few", stage, labelled)
    outcomes = found.folder / OUTCOMES_FILE
    found.grid = grid_cost(items, outcomes, settings.steps_per_quarter, settings.bars)
    if not found.sides[SPLITS[0]].pieces:
        shutil.rmtree(work, ignore_errors=True)  # they may have been on a disk that went away
        raise DataError(_nothing_to_train_on(found.kept, dict(found.refused)))
    found.labels = labelled.record() if labelled is not None else {}
    return found


def _label(source: Source, items: Sequence[Item], settings: BuildSettings) -> Labelled | None:
    """Return the labels of the pieces; None where there are none. Raises UsageError."""
    if not (source.labels or settings.attributes):
        return None
    return label(source.labels, names_of(items), settings.attributes)


def _read_items(
    source: Source,
    items: Sequence[Item],
    settings: BuildSettings,
    pool: Workers,
    work: Path,
    stage: Stage,
    labelled: Labelled | None,
) -> Survey:
    """Encode pieces into shards, looking through those that are there meanwhile."""
    work.mkdir(exist_ok=True)
    most = min(source.items_per_shard, LARGEST_SHARD // len(settings.cut.shifts))
    if any(map(is_score, names_of(items))):
        most = min(most, SCORES_PER_SHARD)
    tasks = [
        Task(
            work / f"shard-{start:08d}-{end:08d}",
            items[start:end],
            settings,
            labels=None if labelled is None else labelled.of_pieces[start:end],
        )
        for start, end in pairwise(_cuts(len(items), most))
    ]
    final = work / "final"
    shutil.rmtree(final, ignore_errors=True)
    final.mkdir()
    with stage(f"read {source.name}", "pieces") as progress:
        shards = encode_shards(tasks, pool, progress)
        finished = (Finished(task.path, names_of(task.items)) for task in shards)
        if not settings.quality:
            return survey(finished, settings, final)
        whole = list(finished)
        near = near_duplicates(shard.shard for shard in whole)
        return survey(whole, settings, final, near)


def _cuts(pieces: int, most: int) -> list[int]:
    """Return where shards of at most `most` pieces begin and end; the last are small.

    So any number of workers end together.
    """
    cuts = [0]
    while cuts[-1] < pieces:
        left = pieces - cuts[-1]
        cuts.append(cuts[-1] + min(left, most, max(_SMALLEST_SHARD, left // _SHARDS)))
    return cuts


def _write(
    source: Source,
    settings: BuildSettings,
    found: Survey,
    pool: Workers,
    stage: Stage,
) -> None:
    """Write what the survey has left of the files of the data set."""
    folder = found.folder
    with stage("write", "shards") as progress:
        joined = join(found, pool, progress)
    found.tokenizer = with_instrumentations(found.tokenizer, folder / SPLITS[0], settings)
    save_tokenizer(found.tokenizer, folder / TOKENIZER_FOLDER)
    manifest = describe(source, settings, found, joined)
    contents = Contents.added_up(
        vocabulary_of(found.tokenizer),
        joined.token_counts.values(),
        [side.lengths for side in found.sides.values()],
        found.piece_bars,
    )
    (folder / CARD_FILE).write_text(card(manifest, contents), encoding="utf-8")
    manifest["files"] = file_records(folder, joined.sha256)
    text = json.dumps(sealed(manifest), indent=2) + "\n"
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")
    _date(folder / MANIFEST_FILE, source)


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


def _remove(paths: Sequence[Path], pool: Workers) -> None:
    """Remove what is no longer needed; the system takes its time over gigabytes."""
    with suppress(WorkerDied, OSError):
        for _ in pool.run(os.unlink, paths):
            pass
