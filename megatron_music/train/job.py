"""A training request, checked before anything heavy is loaded: recipe, data, run folder, layout.

This module loads neither torch nor megatron.
"""

import json
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from megatron_music.config import Recipe
from megatron_music.costs.layout import check_layout
from megatron_music.errors import CheckpointError, DataError, UsageError
from megatron_music.files import damaged
from megatron_music.tokenizer.vocabulary import Vocabulary, load_vocabulary, token_dtype
from megatron_music.train.folder import RunFolder, read_meta
from megatron_music.train.watch import check_watchers

SHAPE_KEYS = ("num_layers", "hidden_size", "num_attention_heads", "seq_length")
"""The keys of `model` that decide the shapes of the weights."""


@dataclass(frozen=True)
class Job:
    """A request that can be carried out: `start` is the checkpoint to go on from, if any."""

    recipe: Recipe
    data: Path
    run: RunFolder
    vocabulary: Vocabulary
    start: Path | None
    start_iteration: int
    data_hash: str = ""

    @property
    def is_finished(self) -> bool:
        """Whether the run has already reached `train.train_iters`."""
        return self.start is not None and self.start_iteration >= self.recipe.train.train_iters

    @property
    def evaluates(self) -> bool:
        """Whether the run evaluates at all."""
        return self.recipe.log.eval_interval > 0


def world_size() -> int:
    """Return the number of processes that torchrun started, 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return this process's rank among those that torchrun started, 0 without it."""
    return int(os.environ.get("RANK", "0"))


def default_run(recipe_name: str, data: Path) -> Path:
    """Return where a run is kept if nothing else is said: `runs/<data>-<recipe>`."""
    return Path("runs") / f"{data.resolve().name}-{Path(recipe_name).stem}"


def token_count(binary: Path, vocabulary: Vocabulary) -> int:
    """Return how many tokens a `.bin` file holds, by its size."""
    return binary.stat().st_size // token_dtype(len(vocabulary)).itemsize


def prepare(recipe: Recipe, data: Path, run: Path) -> Job:
    """Check a request and find where it goes on.

    Raises LayoutError, DataError (missing or too little data, a vocabulary that does not match)
    CheckpointError (the run holds another model or vocabulary) and MissingError. Writes nothing.
    """
    check_layout(recipe, world_size())
    check_watchers(recipe)
    if not (data / "tokenizer").is_dir():
        raise DataError(
            f"no data set in {data}; build one with: megatron-music data build SOURCE -o {data}"
        )
    vocabulary = load_vocabulary(data / "tokenizer")
    data_hash = _check_manifest(data, vocabulary)
    _check_tokens(data / "train", recipe.model.seq_length, vocabulary, "use a larger data set")
    if recipe.log.eval_interval:
        _check_tokens(
            data / "valid", recipe.model.seq_length, vocabulary, "set log.eval_interval=0"
        )
    folder = RunFolder(run)
    if folder.is_foreign or (run.exists() and not run.is_dir()):
        raise UsageError(f"{run} holds other things than a run; give another --run")
    start = folder.latest()
    recipe = _keep_precision(recipe, start)
    iteration = _check_start(start, recipe, vocabulary, data_hash) if start else 0
    return Job(recipe, data, folder, vocabulary, start, iteration, data_hash)


def _keep_precision(recipe: Recipe, start: Path | None) -> Recipe:
    """Let precision `auto` mean, for a run that goes on, what it began with."""
    if start is None or recipe.train.precision != "auto":
        return recipe
    was = read_meta(start).recipe.get("train", {}).get("precision", "auto")
    train = recipe.train.model_copy(update={"precision": was})
    return recipe.model_copy(update={"train": train})


def _check_manifest(data: Path, vocabulary: Vocabulary) -> str:
    """Hold the data set against its manifest; return what tells it apart, "" without a manifest."""
    path = data / "manifest.json"
    if not path.is_file():
        return ""
    try:
        raw = path.read_bytes()
        manifest = json.loads(raw)
        written = manifest.get("vocabulary_hash")
        files = manifest.get("files", {}).items()
        sizes = {name: of["bytes"] for name, of in files if name.endswith((".bin", ".idx"))}
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as fault:
        raise DataError(f"{path} is damaged ({fault}); build the data set again") from None
    if written not in (None, vocabulary.hash):
        raise DataError(
            f"{data} was built with another vocabulary than its tokenizer/ holds; "
            "build the data set again"
        )
    for name in damaged(data, sizes):
        raise DataError(
            f"{data / name} is missing or not the {sizes[name]} bytes that it was built with; "
            "build the data set again"
        )
    return sha256(raw).hexdigest()


def _check_tokens(prefix: Path, seq_length: int, vocabulary: Vocabulary, advice: str) -> None:
    binary = prefix.with_name(prefix.name + ".bin")
    index = prefix.with_name(prefix.name + ".idx")
    for path in (binary, index):
        if not path.is_file():
            raise DataError(f"no {path}; build the data set with 'megatron-music data build'")
    tokens = token_count(binary, vocabulary)
    if tokens < seq_length + 1:
        raise DataError(
            f"{binary} holds {tokens} tokens, fewer than one sample of "
            f"model.seq_length={seq_length} + 1; lower model.seq_length or {advice}"
        )


def _check_start(start: Path, recipe: Recipe, vocabulary: Vocabulary, data_hash: str) -> int:
    """Return the checkpoint's iteration; raises CheckpointError if it is of another shape."""
    meta = read_meta(start)
    for key in SHAPE_KEYS:
        was, wanted = meta.recipe.get("model", {}).get(key), getattr(recipe.model, key)
        if was != wanted:
            raise CheckpointError(
                f"{start} holds a model with model.{key}={was} (got {wanted}); "
                f"give model.{key}={was} or another --run"
            )
    kept = {
        "parallel.use_distributed_optimizer": recipe.parallel.use_distributed_optimizer,
        "train.precision": recipe.train.precision,
    }
    for key, wanted in kept.items():
        section, _, name = key.partition(".")
        was = meta.recipe.get(section, {}).get(name)
        if was != wanted:
            raise CheckpointError(
                f"{start} was saved with {key}={was} (got {wanted}), and its optimizer's state "
                "fits no other; keep it so, or give another --run"
            )
    if meta.vocabulary_hash != vocabulary.hash:
        raise CheckpointError(
            f"{start} was trained with another vocabulary than the data set's; "
            "give the data set it was trained on, or another --run"
        )
    if meta.data_hash != data_hash and meta.data_hash and data_hash:
        raise CheckpointError(
            f"{start} was trained on another data set (or an older build of this one); "
            "give that, or another --run"
        )
    return meta.iteration
