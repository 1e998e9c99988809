"""The opening of a run: its folder made ready, and the first line. Rank 0 alone."""

import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import torch

from megatron_music import __version__
from megatron_music.config import dump_recipe
from megatron_music.costs.flops import padded_vocab_size
from megatron_music.costs.memory import parameter_count
from megatron_music.files import write_text
from megatron_music.tokenizer.structure import position_rows
from megatron_music.train.blend import Blend
from megatron_music.train.engine import Engine
from megatron_music.train.folder import CheckpointMeta, clean, rewind_log, write_tokenizer
from megatron_music.train.job import Job

_PACKAGES = ("torch", "megatron-core", "transformer-engine", "transformers", "accelerate", "numpy")


def open_run(job: Job, engine: Engine, attention: str) -> None:
    """Write what describes the run and its tokenizer, and rewind the log to the checkpoint."""
    job.run.path.mkdir(parents=True, exist_ok=True)
    clean(job.run)
    write_text(job.run.path / "config.yaml", dump_recipe(job.recipe))
    environment = {
        "versions": versions(),
        "platform": platform.platform(),
        "device": engine.kind.name,
        "world_size": engine.world_size,
        "data_parallel_size": engine.data_parallel_size,
        "attention": attention,
        "threads": torch.get_num_threads(),
        "tflops_formula": "model_causal",
        "data": _data(job.blend),
        "from": None if job.begins.origin is None else str(job.begins.origin),
        "vocabulary_hash": job.vocabulary.hash,
        "argv": sys.argv,
    }
    write_text(job.run.environment, json.dumps(environment, indent=2) + "\n")
    write_tokenizer(job.vocabulary.settings, job.run)
    rewind_log(job.run, job.start_iteration if job.start else None)


def describe(job: Job, engine: Engine, trainer: str) -> str:
    """Say in one line what trains on what; `trainer` is by whom, with what was chosen."""
    shape, parallel, size = job.recipe.model, job.recipe.parallel, len(job.vocabulary)
    rows = position_rows(shape.structural_inputs, shape.seq_length, job.vocabulary)
    millions = parameter_count(shape, size, rows.total) / 1e6
    return (
        f"{job.run.path} {_beginning(job)}: {millions:.2f} M parameters, "
        f"vocabulary {size} padded to {padded_vocab_size(size)}, {job.recipe.train.precision}, "
        f"{engine.world_size} x {engine.kind.name} (TP={parallel.tensor_model_parallel_size} "
        f"PP={parallel.pipeline_model_parallel_size} DP={engine.data_parallel_size}), {trainer}"
    )


def _data(blend: Blend) -> str | dict[str, float]:
    """Return the folder, or the share of each of several."""
    folders = [str(folder.resolve()) for folder in blend.folders]
    return folders[0] if len(folders) == 1 else dict(zip(folders, blend.shares, strict=True))


def _beginning(job: Job) -> str:
    """Say with what a run begins or goes on."""
    begins = job.begins
    if begins.step is not None:
        changes = f" with {', '.join(begins.changes)}" if begins.changes else ""
        return f"goes on after iteration {begins.iteration}{changes}"
    return f"begins with the weights of {begins.origin}" if begins.origin else "starts afresh"


def checkpoint_meta(
    job: Job, world_size: int, iteration: int, validation_loss: float | None
) -> CheckpointMeta:
    """Return what a checkpoint of this run says about itself; the loss in nats a token."""
    return CheckpointMeta(
        iteration=iteration,
        recipe=job.recipe.model_dump(),
        vocabulary_hash=job.vocabulary.hash,
        data_hash=job.data_hash,
        origin=str(job.begins.origin or ""),
        validation_loss=validation_loss,
        world_size=world_size,
        versions=versions(),
    )


def versions() -> dict[str, str]:
    """Return the versions that decide a run's numbers."""
    found = {"megatron-music": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
