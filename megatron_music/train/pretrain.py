"""The public function of this package: carry out a prepared job.

torch and megatron are loaded inside, so that importing this costs nothing.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from megatron_music.errors import CheckpointError, MissingError, TrainingError
from megatron_music.files import alone
from megatron_music.threads import wait_briefly
from megatron_music.train.job import Job
from megatron_music.train.launcher import rank
from megatron_music.train.moment import Listen
from megatron_music.train.quiet import quiet
from megatron_music.train.trained import is_trainers

_NOT_MET = ("DistStoreError", "DistNetworkError")
"""torch's errors, by name, of ranks that wait for each other in vain."""

_TOLD_CHARACTERS = 120


def pretrain(job: Job, say: Callable[[str], None], listen: Listen | None = None) -> None:
    """Train a job to its end, in this process's part of the layout; `say` shows a line.

    `listen` is called every `log.sample_interval`, to compose with what has been learned.

    Raises MissingError without torch or megatron, UsageError for what the device cannot do,
    CheckpointError, DataError, WriteError, and TrainingError when stopped or diverged.
    """
    if job.start is not None and is_trainers(job.start):
        raise CheckpointError(
            f"{job.start} was saved by Hugging Face's Trainer; go on with launch/huggingface.py, "
            "or give another --run"
        )
    wait_briefly()
    with at_work(job):
        from megatron_music.train.loop import run

        run(job, say, listen)


@contextmanager
def at_work(job: Job) -> Iterator[None]:
    """Hold the run folder, silently; what a user can act on leaves as one line.

    Raises MissingError and TrainingError.
    """
    busy = TrainingError(f"another training is at work in {job.run.path}; wait for it or stop it")
    with quiet():
        try:
            with alone(job.run.lock, busy) if rank() == 0 else nullcontext():
                yield
        except ModuleNotFoundError as fault:
            raise MissingError(
                f"training needs {fault.name}; install it with pip install 'megatron-music[train]'"
            ) from None
        except RuntimeError as fault:
            raise explain(fault) from fault


def explain(fault: RuntimeError) -> Exception:
    """Turn what a user can act on into one line; anything else stays as it is."""
    text = str(fault)
    if "out of memory" in text:
        return TrainingError(
            "the device is out of memory; lower train.micro_batch_size, set "
            "train.recompute=full or raise parallel.tensor_model_parallel_size"
        )
    if "onnection closed by peer" in text or "Connection reset" in text:
        return TrainingError("another process of this run ended; see its message")
    if type(fault).__name__ in _NOT_MET:
        return TrainingError(
            f"the {os.environ.get('WORLD_SIZE')} processes of this run did not meet at "
            f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')} ("
            f"{' '.join(text.split())[:_TOLD_CHARACTERS]}); start all of them, and see that each "
            "reaches that address, or unset RANK to train in one process"
        )
    return fault
