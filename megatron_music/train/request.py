"""Check a training request, its recipe, data and run folder, without loading torch."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from megatron_music.config import Recipe
from megatron_music.costs.layout import check_layout
from megatron_music.errors import CheckpointError, UsageError
from megatron_music.tokenizer.load import AnyVocabulary, load_any_vocabulary
from megatron_music.train.blend import Blend, differences
from megatron_music.train.datasets import check_data
from megatron_music.train.gpt2 import check_gpt2, is_gpt2_folder
from megatron_music.train.launcher import world_size
from megatron_music.train.loggers import check_loggers
from megatron_music.train.run_dir import (
    CheckpointMeta,
    RunDir,
    find_step,
    is_hf_trainer_checkpoint,
    read_meta,
)

_INPUTS = "structural_inputs"

SHAPE_KEYS = (
    "num_layers",
    "hidden_size",
    "num_attention_heads",
    "seq_length",
    _INPUTS,
)
"""The keys of `model` that decide the shapes of the weights."""


@dataclass(frozen=True)
class ResumePoint:
    """The checkpoint that a run resumes from, or the weights that it begins with.

    `step` is a checkpoint of the run itself, None for a new run; `origin` is a checkpoint of
    another run whose weights it begins with, or began with; `changes` are the keys of the recipe
    that have changed since `step`.
    """

    step: Path | None = None
    iteration: int = 0
    origin: Path | None = None
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainingRequest:
    """A training request that has been checked; `blend` has weights."""

    recipe: Recipe
    blend: Blend
    run: RunDir
    vocabulary: AnyVocabulary
    resume: ResumePoint = field(default_factory=ResumePoint)
    data_hash: str = ""

    @property
    def start(self) -> Path | None:
        """The checkpoint to resume from, if any."""
        return self.resume.step

    @property
    def start_iteration(self) -> int:
        """The iteration of that checkpoint, 0 for a run that begins."""
        return self.resume.iteration

    @property
    def is_finished(self) -> bool:
        """Whether the run has already reached `train.train_iters`."""
        return self.start is not None and self.start_iteration >= self.recipe.train.train_iters

    @property
    def evaluates(self) -> bool:
        """Whether the run evaluates."""
        return self.recipe.log.eval_interval > 0


@dataclass(frozen=True)
class SampleContext:
    """What the sampling callback gets: a run at an iteration that has just been saved as `step`.

    Samples go into the folder `samples`. `weights` is the state of the whole model if this rank has
    all of it in Megatron's local layers; else None, and the checkpoint must be read.
    """

    iteration: int
    recipe: Recipe
    vocabulary: AnyVocabulary
    step: Path
    samples: Path
    weights: dict[str, Any] | None


def find_resume_point(
    run: RunDir, recipe: Recipe, vocabulary: AnyVocabulary, data_hash: str, asked: Path | None
) -> ResumePoint:
    """Return where a run resumes, or the weights that it begins with: those of `asked`, if given.

    Raises CheckpointError for a model, a vocabulary or data that do not fit, UsageError if a run
    that has begun did not begin with the weights of `asked`.
    """
    step = run.latest()
    if step is None:
        return ResumePoint(
            origin=None if asked is None else _find_origin(asked, recipe, vocabulary)
        )
    meta = read_meta(step)
    _check_shape(step, meta, recipe, "another --run")
    # Neither can change within a run: the optimizer's state in the checkpoint depends on them.
    fixed = {
        "parallel.use_distributed_optimizer": recipe.parallel.use_distributed_optimizer,
        "train.precision": recipe.train.precision,
    }
    for key, wanted in fixed.items():
        section, _, name = key.partition(".")
        was = meta.recipe.get(section, {}).get(name)
        if was != wanted:
            raise CheckpointError(
                f"{step} was saved with {key}={was} (got {wanted}), and its optimizer's state "
                "fits no other; keep it so, or give another --run"
            )
    if meta.vocabulary_hash != vocabulary.hash:
        raise CheckpointError(
            f"{step} was trained with another vocabulary than the data set's; "
            "give the data set it was trained on, or another --run"
        )
    if meta.data_hash != data_hash and meta.data_hash and data_hash:
        raise CheckpointError(
            f"{step} was trained on other data (other folders, weights or order, or an older "
            f"build): {run.environment} names them; give those, or another --run"
        )
    origin = Path(meta.origin) if meta.origin else None
    _check_origin(run, origin, asked)
    changes = tuple(
        f"{section}.{key}={value} (was {meta.recipe[section][key]})"
        for section, keys in recipe.model_dump(mode="json", include={"model", "train"}).items()
        for key, value in keys.items()
        if key in meta.recipe.get(section, {}) and meta.recipe[section][key] != value
    )
    return ResumePoint(step, meta.iteration, origin, changes)


def keep_precision(recipe: Recipe, run: RunDir) -> Recipe:
    """Resolve precision `auto` of a resumed run to the precision it began with."""
    step = run.latest()
    if step is None or recipe.train.precision != "auto":
        return recipe
    was = read_meta(step).recipe.get("train", {}).get("precision", "auto")
    train = recipe.train.model_copy(update={"precision": was})
    return recipe.model_copy(update={"train": train})


def _find_origin(asked: Path, recipe: Recipe, vocabulary: AnyVocabulary) -> Path:
    """Return the checkpoint, or GPT-2 folder, whose weights a run begins with.

    Raises CheckpointError where they do not fit.
    """
    step = find_step(asked)
    if step is None and is_gpt2_folder(asked):
        check_gpt2(asked, recipe, vocabulary)
        return asked.resolve()
    if step is None:
        raise CheckpointError(
            f"no checkpoint in {asked} to begin from; give --from a run folder or one of its "
            "checkpoints/step_N, or for words a Hugging Face folder of GPT-2"
        )
    if is_hf_trainer_checkpoint(step):
        raise CheckpointError(
            f"{step} was saved by Hugging Face's Trainer, and weights are taken from checkpoints "
            "of megatron-music train alone; give another --from"
        )
    meta = read_meta(step)
    # A plain model can gain inputs: their rows of the position table are initialised at random.
    gains_inputs = not meta.recipe.get("model", {}).get("structural_inputs")
    _check_shape(step, meta, recipe, "another --from", but_inputs=gains_inputs)
    different = differences(load_any_vocabulary(step.parents[1] / "tokenizer"), vocabulary)
    if different:
        raise CheckpointError(
            f"{step} was trained on tokens with other meanings than these data (by {different}); "
            "build the data like its own: megatron-music data build SOURCE -o DIR --like "
            f"{step.parents[1]}"
        )
    return step


def _check_origin(run: RunDir, origin: Path | None, asked: Path | None) -> None:
    """Raise UsageError where a run has begun, and --from would have no effect."""
    if asked is None:
        return
    asked = asked.resolve()
    wanted = asked.parents[1] if asked.parent.name == "checkpoints" else asked
    if origin is None or wanted not in (origin, origin.parents[1]):
        began = f"with the weights of {origin}" if origin else "with new weights"
        raise UsageError(
            f"{run.path} has begun {began}, and --from counts only at the start (got {asked}); "
            "leave it out, or give another --run"
        )


def _check_shape(
    step: Path, meta: CheckpointMeta, recipe: Recipe, otherwise: str, but_inputs: bool = False
) -> None:
    # Checkpoints of versions without structural inputs do not name any.
    shape = {_INPUTS: [], **meta.recipe.get("model", {})}
    wanted = recipe.model.model_dump(mode="json")
    keys = [key for key in SHAPE_KEYS if not (but_inputs and key == _INPUTS)]
    different = [key for key in keys if shape.get(key) != wanted[key]]
    if different:
        was = " ".join(f"model.{key}={shape.get(key)}" for key in different)
        got = ", ".join(str(wanted[key]) for key in different)
        raise CheckpointError(
            f"{step} holds a model with {was} (got {got}); give {was} or {otherwise}"
        )


def default_run(recipe_name: str, data: Path | Blend) -> Path:
    """Return the default run folder: `runs/<data>-<recipe>`."""
    return Path("runs") / f"{_blend(data).name}-{Path(recipe_name).stem}"


def prepare(
    recipe: Recipe, data: Path | Blend, run: Path, origin: Path | None = None
) -> TrainingRequest:
    """Check a request and find where it resumes.

    `data` is a folder or a blend of several; a run that has no checkpoint yet begins with the
    weights of `origin`, a run or one of its checkpoints.

    Raises LayoutError, DataError (missing or too little data, vocabularies that do not match)
    CheckpointError (the run or the origin holds another model or vocabulary), UsageError and
    MissingError. Writes nothing.
    """
    check_layout(recipe, world_size())
    check_loggers(recipe)
    checked = check_data(_blend(data), recipe)
    folder = RunDir(run)
    if run.exists() and not run.is_dir():
        raise UsageError(f"{run} is a file; give a folder with --run")
    if folder.has_other_files:
        raise UsageError(f"{run} holds other files than those of a run; give another --run")
    recipe = keep_precision(recipe, folder)
    resume = find_resume_point(folder, recipe, checked.vocabulary, checked.hash, origin)
    return TrainingRequest(recipe, checked.blend, folder, checked.vocabulary, resume, checked.hash)


def _blend(data: Path | Blend) -> Blend:
    return data if isinstance(data, Blend) else Blend.of(data)


SampleCallback = Callable[[SampleContext], None]
"""Composes samples; called on rank 0 alone, while the others wait."""
