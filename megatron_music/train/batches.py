"""Batches from Megatron's own GPTDataset: global batch i is a pure function of (seed, i).

Microbatch m of data parallel rank r takes fixed samples of the global batch, so that a resumed run
and a run in another layout see the same global batches. Nothing is written in the data folder.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from megatron.core.datasets.blended_dataset import BlendedDataset
from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig

from megatron_music.errors import DataError
from megatron_music.files import sha256_of, write_text
from megatron_music.tokenizer.megatron import MmmtrackTokenizer
from megatron_music.train.blend import token_count
from megatron_music.train.engine import Engine
from megatron_music.train.job import Job

_COMPLETE = "complete.json"
_SURPLUS = 0.005
"""Megatron's own: so much more than its share is made ready of each folder of a blend."""

Microbatch = dict[str, torch.Tensor]
"""`tokens`, `labels`, `position_ids` (int64) and `loss_mask` (float32), each [micro batch, s]."""


@dataclass(frozen=True)
class Batches:
    """The microbatches of one data parallel rank."""

    train: GPTDataset | BlendedDataset
    valid: GPTDataset | BlendedDataset | None
    micro_batch_size: int
    global_batch_size: int
    eval_iters: int
    vocabulary_size: int
    engine: Engine

    @property
    def microbatches(self) -> int:
        """How many microbatches of each rank make a global batch."""
        return self.global_batch_size // (self.micro_batch_size * self.engine.data_parallel_size)

    def training(self, iteration: int) -> Iterator[Microbatch]:
        """Yield this rank's microbatches of an iteration, counted from 1."""
        return self._of(self.train, iteration - 1)

    def validation(self) -> Iterator[Iterator[Microbatch]]:
        """Yield the same global batches at every evaluation."""
        for batch in range(self.eval_iters):
            if self.valid is not None:
                yield self._of(self.valid, batch)

    def _of(self, dataset: GPTDataset | BlendedDataset, batch: int) -> Iterator[Microbatch]:
        ranks, size = self.engine.data_parallel_size, self.micro_batch_size
        for micro in range(self.microbatches):
            first = batch * self.global_batch_size
            first += (micro * ranks + self.engine.data_parallel_rank) * size
            yield self._stack([dataset[i] for i in range(first, first + size)])

    def _stack(self, samples: list[dict[str, torch.Tensor]]) -> Microbatch:
        keys = samples[0].keys() - {"dataset_id"}  # a blend also says where each is from
        batch = {key: torch.stack([sample[key] for sample in samples]) for key in keys}
        largest = int(max(batch["tokens"].max(), batch["labels"].max()))
        if largest >= self.vocabulary_size:
            raise DataError(
                f"the data holds token {largest}, the vocabulary ends at "
                f"{self.vocabulary_size - 1}; build the data set again"
            )
        return {key: value.to(self.engine.device) for key, value in batch.items()}


def build_batches(job: Job, engine: Engine) -> Batches:
    """Build Megatron's datasets, rank 0 first, with their index cache in the run folder.

    Raises DataError where Megatron cannot read the files.
    """
    train, recipe = job.recipe.train, job.recipe
    eval_iters = _eval_iters(job)
    if engine.is_first:
        _open_cache(job)
    engine.wait()
    sizes = [train.train_iters * train.global_batch_size, eval_iters * train.global_batch_size, 0]
    try:
        built = BlendedMegatronDatasetBuilder(
            GPTDataset, sizes, lambda: True, _dataset_config(job, sizes)
        ).build()
    except (AssertionError, ValueError, IndexError, EOFError, OSError) as fault:
        reason = " ".join(str(fault).split()) or type(fault).__name__
        raise DataError(
            f"Megatron cannot read {job.blend} ({reason}); build the data set again, or remove "
            f"{job.run.cache}"
        ) from fault
    engine.wait()
    if engine.is_first:
        _close_cache(job)
    return Batches(
        train=built[0],
        valid=built[1],
        micro_batch_size=train.micro_batch_size,
        global_batch_size=recipe.train.global_batch_size,
        eval_iters=eval_iters,
        vocabulary_size=len(job.vocabulary),
        engine=engine,
    )


def _dataset_config(job: Job, sizes: list[int]) -> GPTDatasetConfig:
    folders = [folder.resolve() for folder in job.blend.folders]
    weights = job.blend.shares if len(folders) > 1 else None

    def blend(split: str) -> tuple[list[str], list[float] | None]:
        return [str(folder / split) for folder in folders], weights

    return GPTDatasetConfig(
        random_seed=job.recipe.train.seed,
        sequence_length=job.recipe.model.seq_length,
        blend_per_split=[blend("train"), blend("valid") if job.evaluates else None, None],
        path_to_cache=str(job.run.cache),
        tokenizer=MmmtrackTokenizer(job.vocabulary),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
        # Shares are rounded up to whole samples, so that a blend holds up to one more a folder.
        mid_level_dataset_surplus=_SURPLUS + len(folders) / min(size for size in sizes if size),
    )


def _eval_iters(job: Job) -> int:
    """Evaluate no window twice: at most the global batches that the validation sets fill."""
    if not job.evaluates:
        return 0
    samples = min(
        (token_count(folder / "valid.bin", job.vocabulary) - 1) // job.recipe.model.seq_length / of
        for folder, of in zip(job.blend.folders, job.blend.shares, strict=True)
    )
    fill = int(samples / job.recipe.train.global_batch_size)
    return min(job.recipe.log.eval_iters, max(1, fill))


def _open_cache(job: Job) -> None:
    """Keep the cache only if it was completed, for these very data files, and is whole."""
    cache, mark = job.run.cache, job.run.cache / _COMPLETE
    known = mark.read_text(encoding="utf-8", errors="replace") if mark.is_file() else None
    if known != _fingerprint(job) or not all(map(_is_array, cache.glob("*.npy"))):
        with suppress(OSError):
            cache.unlink()  # where it is a link
        shutil.rmtree(cache, ignore_errors=True)
        if cache.exists():
            raise DataError(f"{cache} is of no use here and cannot be removed; remove it yourself")
    mark.unlink(missing_ok=True)


def _is_array(path: Path) -> bool:
    """Tell whether a file is an array of numbers: others Megatron would unpickle, running code."""
    try:
        np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError):
        return False
    return True


def _close_cache(job: Job) -> None:
    write_text(job.run.cache / _COMPLETE, _fingerprint(job))


def _fingerprint(job: Job) -> str:
    """Return what the data's indices are, and what those of the cache hold."""
    indices = [path for folder in job.blend.folders for path in sorted(folder.glob("*.idx"))]
    states = [(path, path.stat()) for path in indices]
    cached = [[path.name, sha256_of(path)] for path in sorted(job.run.cache.glob("*.npy"))]
    return json.dumps([[[str(path), of.st_size, of.st_mtime_ns] for path, of in states], cached])
