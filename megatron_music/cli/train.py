"""`megatron-music train`: alone, or on every rank under torchrun."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from megatron_music.cli import show
from megatron_music.errors import MusicError

RANK_0_SPEAKS_S = 10.0
"""Other ranks wait so long with an error of theirs: mostly rank 0 meets the same."""

STOPPING_S = 2.0
"""Other ranks wait so long after a stop, while rank 0 says where the run stands."""


def train(
    recipe: Annotated[
        str, typer.Argument(help="A recipe's name (tiny, article, ...) or the path of a .yaml.")
    ],
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="A data set folder.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="As in train.lr=1e-3.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="DIR", help="The run folder; else runs/DATA-RECIPE."),
    ] = None,
) -> None:
    """Train a model; started again, it goes on from its last checkpoint.

    `megatron-music train tiny --data data/bach train.lr=1e-3`

    `torchrun --nproc-per-node 2 -m megatron_music train article --data data/lakh`
    """
    from megatron_music.config import load_recipe
    from megatron_music.train.job import default_run, prepare, rank
    from megatron_music.train.pretrain import pretrain

    with _one_voice(rank()):
        request = load_recipe(recipe, overrides or [])
        job = prepare(request, data, run or default_run(recipe, data))
        if not job.is_finished:
            pretrain(job, show.say)
        elif rank() == 0:
            show.say(
                f"{job.run.path} has reached iteration {job.start_iteration}: nothing to do; "
                "raise train.train_iters to go on"
            )


@contextmanager
def _one_voice(rank: int) -> Iterator[None]:
    """Let rank 0 tell an error that all ranks meet; one that it does not meet is told later."""
    from megatron_music.train.stop import StoppedError

    try:
        yield
    except StoppedError as stopped:
        if rank == 0:
            raise
        time.sleep(STOPPING_S)
        raise typer.Exit(stopped.exit_code) from None
    except MusicError:
        if rank == 0 or os.environ.get("MEGATRON_MUSIC_DEBUG"):
            raise
        time.sleep(RANK_0_SPEAKS_S)  # torchrun ends this process when rank 0 has spoken
        raise
