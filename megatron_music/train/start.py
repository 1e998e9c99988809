"""Where a run begins or goes on: a checkpoint, held against what is asked. Loads no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_music.config import Recipe
from megatron_music.errors import CheckpointError, UsageError
from megatron_music.tokenizer.vocabulary import Vocabulary, load_vocabulary
from megatron_music.train.blend import differences
from megatron_music.train.folder import CheckpointMeta, RunFolder, find_step, read_meta
from megatron_music.train.trained import is_trainers

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
class Start:
    """Where a run stands.

    `step` is its own checkpoint to go on from, None for a run that begins; `origin` the checkpoint
    of another run whose weights it began with, or is to begin with; `changes` the keys of the
    recipe that are not what they were.
    """

    step: Path | None = None
    iteration: int = 0
    origin: Path | None = None
    changes: tuple[str, ...] = ()


def find_start(
    run: RunFolder, recipe: Recipe, vocabulary: Vocabulary, data_hash: str, asked: Path | None
) -> Start:
    """Return where a run goes on, or whose weights it begins with if some were `asked` for.

    Raises CheckpointError for a model, a vocabulary or data that do not fit, UsageError where
    weights are asked for that a run which has begun did not begin with.
    """
    step = run.latest()
    if step is None:
        return Start(origin=None if asked is None else _find_origin(asked, recipe, vocabulary))
    meta = read_meta(step)
    _check_shape(step, meta, recipe, "another --run")
    _check_kept(step, meta, recipe)
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
    return Start(step, meta.iteration, origin, _changes(meta.recipe, recipe))


def keep_precision(recipe: Recipe, run: RunFolder) -> Recipe:
    """Let precision `auto` mean, for a run that goes on, what it began with."""
    step = run.latest()
    if step is None or recipe.train.precision != "auto":
        return recipe
    was = read_meta(step).recipe.get("train", {}).get("precision", "auto")
    train = recipe.train.model_copy(update={"precision": was})
    return recipe.model_copy(update={"train": train})


def _find_origin(asked: Path, recipe: Recipe, vocabulary: Vocabulary) -> Path:
    """Return the checkpoint whose weights are asked for; raises CheckpointError."""
    step = find_step(asked)
    if step is None:
        raise CheckpointError(
            f"no checkpoint in {asked} to begin from; give --from a run folder or one of its "
            "checkpoints/step_N (an exported model is none)"
        )
    if is_trainers(step):
        raise CheckpointError(
            f"{step} was saved by Hugging Face's Trainer, and weights are taken from checkpoints "
            "of megatron-music train alone; give another --from"
        )
    meta = read_meta(step)
    # Rows of the position table for inputs that the origin lacks begin as they are drawn.
    gains_inputs = not meta.recipe.get("model", {}).get("structural_inputs")
    _check_shape(step, meta, recipe, "another --from", but_inputs=gains_inputs)
    different = differences(load_vocabulary(step.parents[1] / "tokenizer"), vocabulary)
    if different:
        raise CheckpointError(
            f"{step} learned tokens that mean other things in these data (by {different}); build "
            "them like those it learned from: megatron-music data build SOURCE -o DIR --like "
            f"{step.parents[1]}"
        )
    return step


def _check_origin(run: RunFolder, origin: Path | None, asked: Path | None) -> None:
    """Refuse --from where it would be passed over in silence."""
    if asked is None:
        return
    asked = asked.resolve()
    wanted = asked.parents[1] if asked.parent.name == "checkpoints" else asked
    if origin is None or origin.parents[1] != wanted:
        began = f"with the weights of {origin}" if origin else "with weights of its own"
        raise UsageError(
            f"{run.path} has begun {began}, and --from counts only at the start (got {asked}); "
            "leave it out, or give another --run"
        )


def _check_shape(
    step: Path, meta: CheckpointMeta, recipe: Recipe, otherwise: str, but_inputs: bool = False
) -> None:
    # Checkpoints from before there were inputs do not name them.
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


def _check_kept(step: Path, meta: CheckpointMeta, recipe: Recipe) -> None:
    kept = {
        "parallel.use_distributed_optimizer": recipe.parallel.use_distributed_optimizer,
        "train.precision": recipe.train.precision,
    }
    for key, wanted in kept.items():
        section, _, name = key.partition(".")
        was = meta.recipe.get(section, {}).get(name)
        if was != wanted:
            raise CheckpointError(
                f"{step} was saved with {key}={was} (got {wanted}), and its optimizer's state "
                "fits no other; keep it so, or give another --run"
            )


def _changes(was: dict[str, Any], recipe: Recipe) -> tuple[str, ...]:
    """List what decides a run's numbers and is not as it was."""
    return tuple(
        f"{section}.{key}={value} (was {was[section][key]})"
        for section, keys in recipe.model_dump(mode="json", include={"model", "train"}).items()
        for key, value in keys.items()
        if key in was.get(section, {}) and was[section][key] != value
    )
