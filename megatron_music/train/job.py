"""A training request, checked before anything heavy is loaded: recipe, data, run folder, layout.

This module loads neither torch nor megatron.
"""

from dataclasses import dataclass, field
from pathlib import Path

from megatron_music.config import Recipe
from megatron_music.costs.layout import check_layout
from megatron_music.errors import UsageError
from megatron_music.tokenizer.vocabulary import Vocabulary
from megatron_music.train.blend import Blend
from megatron_music.train.datasets import check_data
from megatron_music.train.folder import RunFolder
from megatron_music.train.launcher import world_size
from megatron_music.train.start import Start, find_start, keep_precision
from megatron_music.train.watch import check_watchers


@dataclass(frozen=True)
class Job:
    """A request that can be carried out; `blend` has weights."""

    recipe: Recipe
    blend: Blend
    run: RunFolder
    vocabulary: Vocabulary
    begins: Start = field(default_factory=Start)
    data_hash: str = ""

    @property
    def start(self) -> Path | None:
        """The checkpoint to go on from, if any."""
        return self.begins.step

    @property
    def start_iteration(self) -> int:
        """The iteration of that checkpoint, 0 for a run that begins."""
        return self.begins.iteration

    @property
    def is_finished(self) -> bool:
        """Whether the run has already reached `train.train_iters`."""
        return self.start is not None and self.start_iteration >= self.recipe.train.train_iters

    @property
    def evaluates(self) -> bool:
        """Whether the run evaluates at all."""
        return self.recipe.log.eval_interval > 0


def default_run(recipe_name: str, data: Path | Blend) -> Path:
    """Return where a run is kept if nothing else is said: `runs/<data>-<recipe>`."""
    return Path("runs") / f"{_blend(data).name}-{Path(recipe_name).stem}"


def prepare(recipe: Recipe, data: Path | Blend, run: Path, origin: Path | None = None) -> Job:
    """Check a request and find where it goes on.

    `data` is a folder or a blend of several; a run that has no checkpoint yet begins with the
    weights of `origin`, a run or one of its checkpoints.

    Raises LayoutError, DataError (missing or too little data, vocabularies that do not match)
    CheckpointError (the run or the origin holds another model or vocabulary), UsageError and
    MissingError. Writes nothing.
    """
    check_layout(recipe, world_size())
    check_watchers(recipe)
    checked = check_data(_blend(data), recipe)
    folder = RunFolder(run)
    if run.exists() and not run.is_dir():
        raise UsageError(f"{run} is a file; give a folder with --run")
    if folder.is_foreign:
        raise UsageError(f"{run} holds other things than a run; give another --run")
    recipe = keep_precision(recipe, folder)
    begins = find_start(folder, recipe, checked.vocabulary, checked.hash, origin)
    return Job(recipe, checked.blend, folder, checked.vocabulary, begins, checked.hash)


def _blend(data: Path | Blend) -> Blend:
    return data if isinstance(data, Blend) else Blend.of(data)
