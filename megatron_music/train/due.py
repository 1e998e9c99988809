"""What a recipe asks for after an iteration. Loads no torch."""

from dataclasses import dataclass

from megatron_music.config import Recipe


@dataclass(frozen=True)
class Due:
    """What is to be done now; who listens or has been asked to stop saves besides."""

    evaluates: bool
    reports: bool
    saves: bool
    listens: bool


def due_after(recipe: Recipe, iteration: int) -> Due:
    """Return what is due after an iteration, counted from 1."""
    log, last = recipe.log, iteration == recipe.train.train_iters
    evaluates = log.eval_interval > 0 and (last or _is_turn(iteration, log.eval_interval))
    return Due(
        evaluates=evaluates,
        reports=last or evaluates or _is_turn(iteration, log.log_interval),
        saves=(last and log.save_last) or _is_turn(iteration, log.save_interval),
        listens=_is_turn(iteration, log.sample_interval),
    )


def _is_turn(iteration: int, interval: int) -> bool:
    return interval > 0 and iteration % interval == 0
