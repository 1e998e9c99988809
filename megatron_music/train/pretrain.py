"""The public function of this package: carry out a prepared job.

torch and megatron are loaded inside, so that importing this costs nothing.
"""

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from megatron_music.errors import CheckpointError, MissingError, TrainingError
from megatron_music.files import file_lock
from megatron_music.omp import set_omp_wait_policy
from megatron_music.train.launcher import rank
from megatron_music.train.request import SampleCallback, TrainingRequest
from megatron_music.train.run_dir import is_hf_trainer_checkpoint

_NOT_MET = ("DistStoreError", "DistNetworkError")
"""torch's errors, by name, of ranks that wait for each other in vain."""

_TOLD_CHARACTERS = 120
_CHATTY_LOGGERS = ("megatron", "torch.distributed", "transformer_engine", "py.warnings")


def pretrain(
    request: TrainingRequest, say: Callable[[str], None], listen: SampleCallback | None = None
) -> None:
    """Train a job to its end, in this process's part of the layout; `say` shows a line.

    `listen` is called every `log.sample_interval`, to compose with what has been learned.

    Raises MissingError without torch or megatron, UsageError for what the device cannot do,
    CheckpointError, DataError, WriteError, and TrainingError when stopped or diverged.
    """
    if request.start is not None and is_hf_trainer_checkpoint(request.start):
        raise CheckpointError(
            f"{request.start} was saved by Hugging Face's Trainer; resume with "
            "launch/huggingface.py, or give another --run"
        )
    # torch reads it when it is loaded, which is at the next import.
    set_omp_wait_policy()
    with training_lock(request):
        from megatron_music.train.trainer import train

        train(request, say, listen)


@contextmanager
def training_lock(request: TrainingRequest) -> Iterator[None]:
    """Hold the run folder, silently; what a user can act on leaves as one line.

    Raises MissingError and TrainingError.
    """
    busy = TrainingError(
        f"another training is running in {request.run.path}; wait for it or stop it"
    )
    with silence_megatron():
        try:
            with file_lock(request.run.lock, busy) if rank() == 0 else nullcontext():
                yield
        except ModuleNotFoundError as fault:
            raise MissingError(
                f"training needs {fault.name}; install it with pip install 'megatron-music[train]'"
            ) from None
        except RuntimeError as fault:
            raise explain(fault) from fault


def explain(fault: RuntimeError) -> Exception:
    """Turn errors that a user can act on into one line; return others unchanged."""
    text = str(fault)
    if "out of memory" in text:
        return TrainingError(
            "the device is out of memory; lower train.micro_batch_size, set "
            "train.recompute=full or raise parallel.tensor_model_parallel_size"
        )
    # Of gloo, with a capital or without by its version, and of NCCL.
    if any(
        one in text for one in ("onnection closed by peer", "Connection reset", "ncclRemoteError")
    ):
        return TrainingError("another process of this run ended; see its message")
    if type(fault).__name__ in _NOT_MET:
        return TrainingError(
            f"the {os.environ.get('WORLD_SIZE')} processes of this run did not meet at "
            f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')} ("
            f"{' '.join(text.split())[:_TOLD_CHARACTERS]}); start all of them, and see that each "
            "reaches that address, or unset RANK to train in one process"
        )
    return fault


@contextmanager
def silence_megatron() -> Iterator[None]:
    """Hold back warnings of megatron, torch and gloo while open, unless the user debugs."""
    if os.environ.get("MEGATRON_MUSIC_DEBUG"):
        yield
        return
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("GLOO_LOG_LEVEL", "ERROR")
    levels = {name: logging.getLogger(name).level for name in _CHATTY_LOGGERS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in levels:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
