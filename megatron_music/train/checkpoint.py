"""Save and load with Megatron's distributed checkpointing, in any layout.

Mirrors `save_checkpoint` and `load_checkpoint` of megatron/training/checkpointing.py. Neither
random states nor the schedule are saved: both follow from the recipe and the iteration. What is
loaded is never run: see `safe_unpickle`.
"""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from megatron.core import dist_checkpointing, parallel_state
from megatron.core.dist_checkpointing.core import CheckpointingException
from megatron.core.dist_checkpointing.strategies import torch as megatron_torch
from megatron.core.models.gpt import GPTModel
from megatron.core.optimizer import MegatronOptimizer
from megatron.core.utils import make_sharded_tensor_for_checkpoint
from torch.distributed.checkpoint import state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemWriter

from megatron_music.errors import CheckpointError, WriteError
from megatron_music.files import os_error_reason, write_cure
from megatron_music.train.distributed import ParallelContext
from megatron_music.train.gpt2 import is_gpt2_folder, load_gpt2_weights
from megatron_music.train.optimizer import TrainState
from megatron_music.train.run_dir import CheckpointMeta, RunDir, commit_checkpoint
from megatron_music.train.safe_unpickle import restricted_unpickling, without_pickles

# Of Megatron's kinds of sharding the one that a run in another layout can load.
_SHARDING = {"distrib_optim_sharding_type": "fully_reshardable"}
_REASON_LENGTH = 300
_POSITIONS = "embedding.position_embeddings.weight"
_FORMAT, _VERSION = "torch_dist", 1


class _Writer(FileSystemWriter):
    """torch's writer, whose errors say what the system said."""

    def write_data(self, *arguments: Any) -> Any:
        """Write this rank's part; raises OSError."""
        try:
            return super().write_data(*arguments)
        except RuntimeError as fault:
            # torch raises an error of its own over the system's, and ranks exchange only that.
            hidden: BaseException | None = fault
            while hidden is not None and not isinstance(hidden, OSError):
                hidden = hidden.__cause__ or hidden.__context__
            raise hidden or fault from None


# Megatron's own writer starts a manager process. That process dies of the SIGTERM which makes us
# save, and where `psutil` is missing it hangs.
class InProcessSave(megatron_torch.TorchDistSaveShardedStrategy):  # type: ignore[misc]
    """Megatron's `torch_dist` format through torch's own file writer, one file a rank."""

    def __init__(self) -> None:
        super().__init__(_FORMAT, _VERSION)

    def save(self, sharded_state_dict: dict[str, Any], checkpoint_dir: str | Path) -> None:
        """Write this rank's part and wait until every rank's is on disk.

        Raises torch's CheckpointException on all ranks when one of them fails.
        """
        state, _, _ = megatron_torch._replace_state_dict_keys_with_sharded_keys(  # noqa: SLF001
            sharded_state_dict, self.keep_only_main_replica
        )
        state_dict_saver.save(
            megatron_torch.mcore_to_pyt_state_dict(state, False),
            storage_writer=_Writer(str(checkpoint_dir)),
            planner=megatron_torch.MCoreSavePlanner(
                dedup_replicated_tensors=not self.keep_only_main_replica, flatten_state_dict=False
            ),
        )


def save(
    run: RunDir,
    meta: CheckpointMeta,
    train_state: TrainState,
    context: ParallelContext,
    update_latest: bool = True,
) -> None:
    """Save weights and optimizer as `step_N`, complete or not at all; all ranks call it.

    Without `update_latest` it is `spike_N`, kept for inspection: runs do not resume from it. Raises
    WriteError when the place cannot be written.
    """
    with (
        commit_checkpoint(run, meta, update_latest)
        if context.is_first
        else nullcontext(run.partial(meta.iteration)) as folder
    ):
        context.wait()
        try:
            train_state.init_adam_state()
            with train_state.all_params_gathered():
                state = _state(train_state.model, train_state.optimizer)
                dist_checkpointing.save(state, str(folder), InProcessSave())
        # Not RuntimeError: ranks exchange their errors, so this one says that a rank has died.
        except (CheckpointException, CheckpointingException, OSError) as fault:
            first = _first(fault)
            cure = write_cure(first) if isinstance(first, OSError) else "choose another place"
            raise WriteError(
                f"cannot write {run.step(meta.iteration)}: {_reason(fault)}; {cure} and start again"
            ) from fault
        context.wait()


def load_train_state(step: Path, train_state: TrainState) -> None:
    """Load weights and optimizer, saved in any layout; raises CheckpointError."""
    train_state.init_adam_state()
    with readable(step):
        state = _load(_state(train_state.model, train_state.optimizer, is_loading=True), step)
        train_state.model.load_state_dict(state["model"])
        train_state.load_optimizer(state["optimizer"])


def load_weights(step: Path, train_state: TrainState) -> None:
    """Load the weights alone and begin the optimizer with them; raises CheckpointError.

    `step` may be a Hugging Face GPT-2 folder. A model with structural inputs keeps the rows of its
    position table that the checkpoint lacks.
    """
    if is_gpt2_folder(step):
        load_gpt2_weights(step, train_state.model)
    else:
        load_model(step, train_state.model)
    train_state.optimizer.reload_model_params()


def load_model(step: Path, model: GPTModel) -> None:
    """Load the weights alone, saved in any layout; raises CheckpointError.

    A checkpoint with fewer rows in its position table gives the first ones.
    """
    with readable(step):
        state = _state(model)
        table = state["model"].get(_POSITIONS)  # on the first pipeline stage alone
        rows = 0
        if table is not None:
            with restricted_unpickling(step):
                saved = dist_checkpointing.load_tensors_metadata(str(step))[_POSITIONS]
            rows = int(saved.global_shape[0])
        fewer = table is not None and rows < table.data.shape[0]
        if fewer:
            first = torch.empty_like(table.data[:rows])
            state["model"][_POSITIONS] = make_sharded_tensor_for_checkpoint(first, _POSITIONS)
        weights = _load(state, step)["model"]
        if fewer:
            weights[_POSITIONS] = torch.cat([weights[_POSITIONS], table.data[rows:]])
        model.load_state_dict(weights)


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
    with restricted_unpickling(step):
        loaded: dict[str, Any] = dist_checkpointing.load(state, str(step))
    return loaded | {"model": without_pickles(loaded["model"])}


@contextmanager
def readable(step: Path) -> Iterator[None]:
    """Take all that a bad checkpoint makes Megatron, torch, pickle or json raise for its damage."""
    try:
        yield
    # Damage raises the error of the first reader that meets it (KeyError, struct.error, zipfile's
    # and pickle's errors): no list of them would be complete.
    except (Exception, CheckpointException) as fault:  # torch's own error is not an Exception
        raise CheckpointError(
            f"cannot load {step}: {_reason(fault)}; remove it to resume from an older one"
        ) from fault


def _first(fault: BaseException) -> BaseException:
    """Return the first rank's fault of an error that gathers those of all ranks."""
    if isinstance(fault, CheckpointException) and fault.failures:
        return next(iter(fault.failures.values()))[0]
    return fault


def _reason(fault: BaseException) -> str:
    """Shorten a fault of several ranks to the first line that says something."""
    fault = _first(fault)
    if isinstance(fault, pickle.UnpicklingError) and "weights_only" in str(fault):
        return "a file in it is damaged or holds more than data"  # torch's cure would run that
    if isinstance(fault, EOFError):
        return "a file in it is cut short"
    if isinstance(fault, OSError):
        return os_error_reason(fault)
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    return lines[0][:_REASON_LENGTH] if lines else type(fault).__name__
