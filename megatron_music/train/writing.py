"""Write a distributed checkpoint from this process, without helpers that a signal could kill.

Megatron's own writer hands the tensors to forked children and collects their results from a
manager process, which dies of the SIGTERM or Ctrl-C that made us save, and outlives a kill -9.
The format is the same, `torch_dist`, and Megatron's own loader reads it. Mirrors
`TorchDistSaveShardedStrategy` of megatron/core/dist_checkpointing/strategies/torch.py.
"""

from pathlib import Path
from typing import Any

from megatron.core.dist_checkpointing.strategies import torch as megatron_torch
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict_saver import save

_FORMAT, _VERSION = "torch_dist", 1


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
        save(
            megatron_torch.mcore_to_pyt_state_dict(state, False),
            storage_writer=FileSystemWriter(str(checkpoint_dir)),
            planner=megatron_torch.MCoreSavePlanner(
                dedup_replicated_tensors=not self.keep_only_main_replica, flatten_state_dict=False
            ),
        )
