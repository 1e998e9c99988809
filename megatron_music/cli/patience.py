"""Refuse to start what would take days on this machine's processor, unless that is asked for."""

from typing import TYPE_CHECKING

from megatron_music.cli import show
from megatron_music.errors import UsageError

if TYPE_CHECKING:
    from megatron_music.train.request import TrainingRequest

SMALLEST_RECIPE = "tiny"


def refuse_days(request: "TrainingRequest", recipe: str) -> None:
    """Raise UsageError where a job would take longer than a day without a GPU.

    The message has the time, and what would take about an hour. Batch systems start jobs on GPUs,
    which are not asked about: `--estimate` has their time.
    """
    from megatron_music.config import load_recipe
    from megatron_music.costs.cpu_time import DAY_S, HOUR_S, cpu_flops_per_s, cpu_iteration_s
    from megatron_music.nvidia import are_gpus_hidden, read_driver

    if not are_gpus_hidden() and read_driver().usable_gpus:
        return
    rate = cpu_flops_per_s()
    size = len(request.vocabulary)
    iteration_s = cpu_iteration_s(request.recipe, size, rate)
    left_s = iteration_s * (request.recipe.train.train_iters - request.start_iteration)
    if left_s <= DAY_S:
        return
    small = load_recipe(SMALLEST_RECIPE)
    small_s = cpu_iteration_s(small, size, rate)
    iterations = max(1, round(HOUR_S / small_s / 100) * 100)
    of_this = max(1, round(HOUR_S / iteration_s))
    raise UsageError(
        f"training {recipe} to {request.recipe.train.train_iters:,} iterations would take about "
        f"{left_s / DAY_S:,.0f} days on this machine, which has no usable GPU; for about an hour: "
        f"train {SMALLEST_RECIPE} train.train_iters={iterations} (its own "
        f"{small.train.train_iters:,} take {show.duration(small.train.train_iters * small_s)}), or "
        f"train.train_iters={request.start_iteration + of_this} here; --yes starts it all the same"
    )
