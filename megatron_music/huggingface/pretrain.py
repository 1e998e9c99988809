"""The public function of this package: train a checked request with Hugging Face's Trainer.

torch and transformers are loaded inside, so that importing this costs nothing.
"""

from collections.abc import Callable
from pathlib import Path

from megatron_music.config import ParallelConfig, Recipe
from megatron_music.errors import CheckpointError, LayoutError
from megatron_music.omp import set_omp_wait_policy
from megatron_music.train.blend import Blend
from megatron_music.train.pretrain import training_lock
from megatron_music.train.request import TrainingRequest, default_run
from megatron_music.train.run_dir import is_hf_trainer_checkpoint


def default_folder(recipe_name: str, data: Blend) -> Path:
    """Return the default run folder: `runs/<data>-<recipe>-huggingface`."""
    run = default_run(recipe_name, data)
    return run.with_name(f"{run.name}-huggingface")


def check_layout(recipe: Recipe) -> None:
    """Raise LayoutError for layouts that the Trainer does not have."""
    plain = ParallelConfig().model_dump()
    for key, value in recipe.parallel:
        if value != plain[key]:
            raise LayoutError(
                f"Hugging Face's Trainer knows data parallelism alone (got parallel.{key}={value});"
                f" give parallel.{key}={plain[key]}, or use megatron-music train"
            )


def check_start(request: TrainingRequest) -> None:
    """Raise CheckpointError for checkpoints of the engine."""
    if request.start is not None and not is_hf_trainer_checkpoint(request.start):
        raise CheckpointError(
            f"{request.start} was not saved by Hugging Face's Trainer; resume with megatron-music "
            "train, or give another --run"
        )


def pretrain(request: TrainingRequest, say: Callable[[str], None]) -> None:
    """Train a job to its end, as one data parallel rank; `say` shows a line.

    Checkpoints are the Trainer's own, in a run folder like the engine's. Raises CheckpointError
    (the run is the engine's), and what `train.pretrain.pretrain` does.
    """
    check_start(request)
    set_omp_wait_policy()
    with training_lock(request):
        from megatron_music.huggingface.trainer import run

        run(request, say)
