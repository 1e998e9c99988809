"""The configurations of a sweep, ordered by a rehearsal of each on GPUs that need not be there."""

import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from megatron_music.costs.peaks import dense_peak
from megatron_music.errors import UsageError
from megatron_music.profiling.grid import Configuration, expand, load_sweep, refusal
from megatron_music.profiling.synthetic import synthetic_data
from megatron_music.train.blend import Blend
from megatron_music.train.rehearsal.plan import Rehearsal, rehearse_on


@dataclass(frozen=True)
class Rehearsed:
    """A configuration with what its rehearsal found, or the reason why it cannot run."""

    configuration: Configuration
    found: Rehearsal | None
    reason: str = ""

    @property
    def tflops(self) -> float:
        """The expected TFLOP/s of a device by `model_causal`, 0 for what cannot run."""
        return 0.0 if self.found is None else self.found.time.utilisation * self.found.peak_tflops

    @property
    def label(self) -> str:
        """Name the configuration shortly, for a person."""
        recipe = self.configuration.recipe
        parallel, train = recipe.parallel, recipe.train
        return (
            f"{self.configuration.processes} GPU(s), TP={parallel.tensor_model_parallel_size} "
            f"PP={parallel.pipeline_model_parallel_size}, batch {train.micro_batch_size} of "
            f"{train.global_batch_size}, {train.precision}, recompute {train.recompute}, "
            f"l={recipe.model.num_layers} h={recipe.model.hidden_size}"
        )


def rehearse_sweep(
    path: Path, device: str, gpus: int, say: Callable[[str], None]
) -> list[Rehearsed]:
    """Rehearse a sweep file on so many of a device; see `rehearse_all`.

    Raises InputError and UsageError for a file or a device that cannot be used.
    """
    best = "bf16" if dense_peak(device, "bf16") else "fp16"
    configurations = expand(load_sweep(path), gpus, best)
    with TemporaryDirectory(prefix="rehearsal-") as scratch:
        return rehearse_all(configurations, device, Path(scratch), say, gpus)


def rehearse_all(
    configurations: Sequence[Configuration],
    device: str,
    data: Path,
    say: Callable[[str], None],
    gpus: int | None = None,
) -> list[Rehearsed]:
    """Rehearse each configuration on random tokens in `data`; return them by TFLOP/s.

    What cannot run comes last.

    A process of its own does it, which has no GPU and loads torch once. `gpus` is how many there
    are, where that is to be checked.
    """
    rehearsed = []
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_begin) as pool:
        for number, configuration in enumerate(configurations, start=1):
            one = pool.submit(_rehearse, configuration, device, data, gpus).result()
            rehearsed.append(one)
            result = one.reason if one.found is None else f"{one.tflops:.4g} TFLOP/s expected"
            say(f"rehearsed {number}/{len(configurations)}: {one.label}: {result}")
    return sorted(rehearsed, key=lambda one: -one.tflops)


def _begin() -> None:
    """Leave Ctrl-C to the sweep, and the GPUs to its runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def _rehearse(configuration: Configuration, device: str, data: Path, gpus: int | None) -> Rehearsed:
    reason = None if gpus is None else refusal(configuration, gpus)
    if reason is not None:
        return Rehearsed(configuration, None, reason)
    recipe = configuration.recipe
    blend = Blend.of(synthetic_data(data, recipe.model.seq_length))
    try:
        found = rehearse_on(recipe, blend, device, configuration.processes)
    except UsageError as fault:
        return Rehearsed(configuration, None, str(fault))
    return Rehearsed(configuration, found)
