"""Save and load with Megatron's distributed checkpointing, whatever the layout.

Mirrors `save_checkpoint` and `load_checkpoint` of megatron/training/checkpointing.py. Neither
random states nor the schedule are saved: both follow from the recipe and the iteration.
"""

import pickle
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from megatron.core import dist_checkpointing, parallel_state
from megatron.core.dist_checkpointing.core import CheckpointingException
from megatron.core.models.gpt import GPTModel
from megatron.core.optimizer import MegatronOptimizer
from torch.distributed.checkpoint.api import CheckpointException

from megatron_music.errors import CheckpointError, WriteError
from megatron_music.train.engine import Engine
from megatron_music.train.folder import CheckpointMeta, RunFolder, publish
from megatron_music.train.optimizer import Learner
from megatron_music.train.writing import InProcessSave

_SHARDING = {"distrib_optim_sharding_type": "fully_reshardable"}
_REASON_LENGTH = 300
_LOAD_FAULTS = (
    CheckpointingException,
    CheckpointException,
    OSError,
    EOFError,
    RuntimeError,
    KeyError,
    ValueError,
    pickle.UnpicklingError,
)


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
    state = _load(_state(learner.model, learner.optimizer, is_loading=True), step)
    learner.model.load_state_dict(state["model"])
    learner.load_optimizer(state["optimizer"])


def load_model(step: Path, model: GPTModel) -> None:
    """Load the weights alone, saved in any layout; raises CheckpointError."""
    model.load_state_dict(_load(_state(model), step)["model"])


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
    try:
        loaded: dict[str, Any] = dist_checkpointing.load(state, str(step))
    except _LOAD_FAULTS as fault:
        raise CheckpointError(
            f"cannot load {step}: {_reason(fault)}; remove it to go on from an older one"
        ) from fault
    return loaded


def _reason(fault: BaseException) -> str:
    """Shorten a fault of several ranks to the first line that says something."""
    if isinstance(fault, CheckpointException) and fault.failures:
        fault = next(iter(fault.failures.values()))[0]
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    return lines[0][:_REASON_LENGTH] if lines else type(fault).__name__
