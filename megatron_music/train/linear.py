"""Linear layers that no tensor parallelism splits: the bias is added inside the product.

Megatron's own add it in a pass of its own over the result, and pass through Python once more in
each direction. Names, shapes, initial values and checkpoints are theirs.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from megatron.core.tensor_parallel import ColumnParallelLinear, RowParallelLinear
from megatron.core.transformer.spec_utils import ModuleSpec


class WholeColumnLinear(ColumnParallelLinear):  # type: ignore[misc]
    """Takes [s, b, in] to [s, b, out]; TP=1 alone."""

    def forward(self, input_: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
        """Return the result, and no bias that is still to be added."""
        return F.linear(input_, self.weight, self.bias), None


class WholeRowLinear(RowParallelLinear):  # type: ignore[misc]
    """Takes [s, b, in] to [s, b, out]; TP=1 alone."""

    def forward(self, input_: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return the result, and no bias that is still to be added."""
        return F.linear(input_, self.weight, self.bias), None


def use_whole_linears(layer: ModuleSpec) -> None:
    """Put them into Megatron's local layer spec, which core 0.17 and later partly bind early."""
    mlp = layer.submodules.mlp
    mlp = mlp.submodules if isinstance(mlp, ModuleSpec) else mlp.keywords["submodules"]
    attention = layer.submodules.self_attention.submodules
    attention.linear_qkv = mlp.linear_fc1 = WholeColumnLinear
    attention.linear_proj = mlp.linear_fc2 = WholeRowLinear
