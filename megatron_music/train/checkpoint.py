"""Save and load with Megatron's distributed checkpointing, whatever the layout.

Mirrors `save_checkpoint` and `load_checkpoint` of megatron/training/checkpointing.py. Neither
random states nor the schedule are saved: both follow from the recipe and the iteration. What is
loaded is data, whoever wrote it: see `pickles`.
"""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from megatron.core import dist_checkpointing, parallel_state
from megatron.core.dist_checkpointing.core import CheckpointingException
from megatron.core.models.gpt import GPTModel
from megatron.core.optimizer import MegatronOptimizer
from megatron.core.utils import make_sharded_tensor_for_checkpoint
from torch.distributed.checkpoint.api import CheckpointException

from megatron_music.errors import CheckpointError, WriteError
from megatron_music.train.engine import Engine
from megatron_music.train.folder import CheckpointMeta, RunFolder, publish
from megatron_music.train.optimizer import Learner
from megatron_music.train.pickles import data_alone, without_pickles
from megatron_music.train.writing import InProcessSave

_SHARDING = {"distrib_optim_sharding_type": "fully_reshardable"}
_REASON_LENGTH = 300
_POSITIONS = "embedding.position_embeddings.weight"


def save(
    run: RunFolder, meta: CheckpointMeta, learner: Learner, engine: Engine, leads: bool = True
) -> None:
    """Save weights and optimizer as `step_N`, complete or not at all; all ranks call it.

    One that does not lead is `spike_N`, kept for a look: runs do not go on from it. Raises
    WriteError when the place cannot be written.
    """
    first = engine.is_first
    with publish(run, meta, leads) if first else nullcontext(run.partial(meta.iteration)) as folder:
        engine.wait()
        try:
            learner.begin_moments()
            with learner.gathered():
                state = _state(learner.model, learner.optimizer)
                dist_checkpointing.save(state, str(folder), InProcessSave())
        except (CheckpointException, CheckpointingException, OSError, RuntimeError) as fault:
            raise WriteError(
                f"cannot write {run.step(meta.iteration)}: {_reason(fault)}; "
                "make room and start again"
            ) from fault
        engine.wait()


def load_learner(step: Path, learner: Learner) -> None:
    """Load weights and optimizer, saved in any layout; raises CheckpointError."""
    learner.begin_moments()
    with readable(step):
        state = _load(_state(learner.model, learner.optimizer, is_loading=True), step)
        learner.model.load_state_dict(state["model"])
        learner.load_optimizer(state["optimizer"])


def load_weights(step: Path, learner: Learner) -> None:
    """Load the weights alone and begin the optimizer with them; raises CheckpointError.

    A model with structural inputs keeps the rows of its position table that the checkpoint lacks.
    """
    load_model(step, learner.model)
    learner.optimizer.reload_model_params()


def load_model(step: Path, model: GPTModel) -> None:
    """Load the weights alone, saved in any layout; raises CheckpointError.

    A checkpoint with fewer rows in its position table gives the first ones.
    """
    with readable(step):
        state = _state(model)
        table = state["model"].get(_POSITIONS)  # on the first pipeline stage alone
        rows = _saved_rows(step) if table is not None else 0
        fewer = table is not None and rows < table.data.shape[0]
        if fewer:
            first = torch.empty_like(table.data[:rows])
            state["model"][_POSITIONS] = make_sharded_tensor_for_checkpoint(first, _POSITIONS)
        weights = _load(state, step)["model"]
        if fewer:
            weights[_POSITIONS] = torch.cat([weights[_POSITIONS], table.data[rows:]])
        model.load_state_dict(weights)


def _saved_rows(step: Path) -> int:
    """Return how many rows the position table of a checkpoint has."""
    with data_alone(step):
        return int(dist_checkpointing.load_tensors_metadata(str(step))[_POSITIONS].global_shape[0])


def _state(
    model: GPTModel, optimizer: MegatronOptimizer | None = None, is_loading: bool = False
) -> dict[str, Any]:
    group = parallel_state.get_data_parallel_group(with_context_parallel=True)
    metadata = {"dp_cp_group": group, **_SHARDING}
    weights = model.sharded_state_dict(metadata=metadata)
    if optimizer is None:
        return {"model": weights}
    moments = optimizer.sharded_state_dict(weights, is_loading=is_loading, metadata=metadata)
    return {"model": weights, "optimizer": moments}


def _load(state: dict[str, Any], step: Path) -> dict[str, Any]:
    with data_alone(step):
        loaded: dict[str, Any] = dist_checkpointing.load(state, str(step))
    return loaded | {"model": without_pickles(loaded["model"])}


@contextmanager
def readable(step: Path) -> Iterator[None]:
    """Take all that a bad checkpoint makes Megatron, torch, pickle or json raise for its damage."""
    try:
        yield
    except (Exception, CheckpointException) as fault:  # torch's own is no Exception
        raise CheckpointError(
            f"cannot load {step}: {_reason(fault)}; remove it to go on from an older one"
        ) from fault


def _reason(fault: BaseException) -> str:
    """Shorten a fault of several ranks to the first line that says something."""
    if isinstance(fault, CheckpointException) and fault.failures:
        fault = next(iter(fault.failures.values()))[0]
    if isinstance(fault, pickle.UnpicklingError) and "weights_only" in str(fault):
        return "a file in it is damaged or holds more than data"  # torch's cure would run that
    if isinstance(fault, EOFError):
        return "a file in it is cut short"
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    return lines[0][:_REASON_LENGTH] if lines else type(fault).__name__
