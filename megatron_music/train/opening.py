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
from megatron_music.train.engine import Engine
from megatron_music.train.folder import clean, copy_tokenizer, rewind_log
from megatron_music.train.job import Job
from megatron_music.train.model import layer_kernels

_PACKAGES = ("torch", "megatron-core", "transformer-engine", "transformers", "accelerate", "numpy")


def open_run(job: Job, engine: Engine, attention: str) -> None:
    """Write what describes the run, copy the tokenizer, and rewind the log to the checkpoint."""
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
        "data": str(job.data.resolve()),
        "vocabulary_hash": job.vocabulary.hash,
        "argv": sys.argv,
    }
    write_text(job.run.path / "environment.json", json.dumps(environment, indent=2) + "\n")
    copy_tokenizer(job.data / "tokenizer", job.run)
    rewind_log(job.run, job.start_iteration if job.start else None)


def describe(job: Job, engine: Engine) -> str:
    """Say in one line what trains on what, and what was chosen."""
    parallel, size = job.recipe.parallel, len(job.vocabulary)
    millions = parameter_count(job.recipe.model, size) / 1e6
    begins = f"goes on after iteration {job.start_iteration}" if job.start else "starts afresh"
    return (
        f"{job.run.path} {begins}: {millions:.2f} M parameters, "
        f"vocabulary {size} padded to {padded_vocab_size(size)}, {job.recipe.train.precision}, "
        f"{engine.world_size} x {engine.kind.name} (TP={parallel.tensor_model_parallel_size} "
        f"PP={parallel.pipeline_model_parallel_size} DP={engine.data_parallel_size}), "
        f"{layer_kernels(job.recipe, engine).text}, megatron-core {version('megatron-core')}"
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
