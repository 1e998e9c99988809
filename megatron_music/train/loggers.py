"""Loggers in addition to `log.jsonl`: TensorBoard, Weights & Biases. Rank 0 only."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any

from megatron_music.config import Recipe
from megatron_music.errors import MissingError
from megatron_music.files import write_text
from megatron_music.train.run_dir import RunDir

Entry = Mapping[str, Any]
"""A line of `log.jsonl`."""

Logger = Callable[[Entry], None]
"""Shows a line somewhere."""

WANDB_ID_FILE = "wandb-id.txt"
_NOT_SHOWN = ("iteration",)


def check_loggers(recipe: Recipe) -> None:
    """Raise MissingError where what the recipe asks for by name is not installed."""
    if recipe.log.wandb_project and find_spec("wandb") is None:
        raise MissingError(
            f"log.wandb_project={recipe.log.wandb_project} needs wandb, which is not installed; "
            "install it with pip install wandb, or leave the key out"
        )


@contextmanager
def open_loggers(run: RunDir, recipe: Recipe, start_iteration: int) -> Iterator[list[Logger]]:
    """Open the loggers of a recipe; TensorBoard, which is on by default, only if installed."""
    with ExitStack() as stack:
        opened: list[Logger] = []
        if recipe.log.tensorboard and find_spec("tensorboard"):
            opened.append(stack.enter_context(_tensorboard(run, start_iteration)))
        if recipe.log.wandb_project:
            opened.append(stack.enter_context(_wandb(run, recipe)))
        yield opened


@contextmanager
def _tensorboard(run: RunDir, start_iteration: int) -> Iterator[Logger]:
    """Write event files; what an earlier process wrote beyond the checkpoint is taken back."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(run.tensorboard), purge_step=start_iteration + 1)

    def show(entry: Entry) -> None:
        for name, value in _scalars(entry).items():
            writer.add_scalar(name, value, entry["iteration"])
        writer.flush()

    try:
        yield show
    finally:
        writer.close()


@contextmanager
def _wandb(run: RunDir, recipe: Recipe) -> Iterator[Logger]:
    """Log to a project; a resumed run continues the same W&B run."""
    import wandb

    known = run.path / WANDB_ID_FILE
    if not known.is_file():
        write_text(known, secrets.token_hex(8))
    session = wandb.init(
        project=recipe.log.wandb_project,
        name=run.path.name,
        id=known.read_text(encoding="utf-8"),
        dir=str(run.path),
        config=recipe.model_dump(),
        resume="allow",
    )
    try:
        yield lambda entry: session.log(_scalars(entry), step=entry["iteration"])
    finally:
        session.finish()


def _scalars(entry: Entry) -> dict[str, float]:
    """Return the numbers of a log entry; those of `phases_s` as `phases_s/NAME`."""
    scalars: dict[str, float] = {}
    for name, value in entry.items():
        if isinstance(value, dict):
            scalars.update({f"{name}/{part}": of_part for part, of_part in value.items()})
        elif name not in _NOT_SHOWN and value is not None:
            scalars[name] = value
    return scalars
