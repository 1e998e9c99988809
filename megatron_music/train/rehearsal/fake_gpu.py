"""One rank of many GPUs that are not there: the engine's GPU path on tensors without data.

The GPU is torch's `meta` device, whose tensors have shapes, dtypes and an autograd graph, and no
memory. (Fake tensors of a CUDA device do not pass through autograd on a build of torch without
CUDA, which asks the missing accelerator for its streams, and cost milliseconds an operator.)
`cpu.patch_cuda_calls_to_cpu` sends there what asks for CUDA. Process groups are torch's `fake`
backend, in which every collective returns at once. CPU tensors are real, and may not meet those of
the GPU.

The engine is unaware of it. All substitutes are listed in `STAND_INS`.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from megatron.core import parallel_state
from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed
from megatron.core.transformer.torch_norm import WrappedTorchNorm
from torch.overrides import TorchFunctionMode
from torch.testing._internal.distributed.fake_pg import FakeStore

from megatron_music.config import Recipe
from megatron_music.train import backends, distributed
from megatron_music.train.cpu import patch_cuda_calls_to_cpu
from megatron_music.train.distributed import ParallelContext

GPU = torch.device("meta")
NORM = 2.0
"""Of the gradients, above what the recipes clip at, so that they are clipped."""

_TYPES = {
    torch.float32: "Float",
    torch.bfloat16: "BFloat16",
    torch.float16: "Half",
    torch.int64: "Long",
}
_BACKEND = "fake"

STAND_INS = (
    "Transformer Engine's layers: Megatron's local ones, with norms for sequence parallel",
    "attention: torch's flash attention operator",
    "kernels compiled by torch.compile: their separate operators",
    "NCCL: torch's fake process groups",
    "values that the CPU reads from the GPU: a loss and a norm of 2, no overflow",
)
"""What is not as on the GPU, for a person."""


@contextmanager
def fake_rank(
    recipe: Recipe, kind: backends.Device, rank: int, world_size: int
) -> Iterator[ParallelContext]:
    """Set this process up as a rank of `world_size` GPUs while open; its tensors have no data."""
    with ExitStack() as stack:
        for target, name, value in _stand_ins(recipe):
            stack.enter_context(mock.patch.object(target, name, value))
        # Compiled code would not pass through the modes that count.
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(_on_gpu(recipe))
        dist.init_process_group(_BACKEND, rank=rank, world_size=world_size, store=FakeStore())
        stack.callback(dist.destroy_process_group)
        stack.callback(parallel_state.destroy_model_parallel)
        context = distributed.place(recipe.parallel, torch.device("cuda", 0), kind)
        model_parallel_cuda_manual_seed(0, inference_rng_tracker=True)  # tracks nothing
        yield context


@contextmanager
def _on_gpu(recipe: Recipe) -> Iterator[None]:
    with patch_cuda_calls_to_cpu(GPU), _HostReads(recipe.train.precision):
        yield


def _stand_ins(recipe: Recipe) -> list[tuple[Any, str, Any]]:
    new_group = dist.new_group
    run_backward = torch.autograd._engine_run_backward  # type: ignore[attr-defined]  # noqa: SLF001

    def backward(*args: Any, **kwargs: Any) -> Any:
        """Run the backward pass, which torch takes out of the modes that are entered, in them."""
        with _on_gpu(recipe):
            return run_backward(*args, **kwargs)

    def fake_group(ranks: list[int] | None = None, *_: Any, **__: Any) -> Any:
        return new_group(ranks, backend=_BACKEND)

    def gather_object(gathered: list[Any], own: Any, group: Any = None) -> None:  # noqa: ARG001
        gathered[:] = [own] * len(gathered)  # as if all ranks had the same

    return [
        (dist, "new_group", fake_group),
        (WrappedTorchNorm, "__new__", _parallel_norm),
        (torch.autograd, "_engine_run_backward", backward),
        (dist, "all_gather_object", gather_object),
        (dist.Backend, "backend_capability", {_BACKEND: ["cpu", "cuda", GPU.type]}),
        (
            import_module("torch.optim.optimizer"),
            "_get_fused_kernels_supported_devices",
            lambda: [GPU.type],
        ),
        # So that the local layers are chosen, with norms that can work on parts of a sequence.
        (backends, "installed", lambda: frozenset({backends.APEX_NORM})),
    ]


def _parallel_norm(
    _: type, config: Any, hidden_size: int, eps: float, **__: Any
) -> torch.nn.Module:
    """Make a norm whose weights Megatron treats as those of Apex and Transformer Engine."""
    norm = torch.nn.LayerNorm(hidden_size, eps)
    for parameter in norm.parameters():
        parameter.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]
    return norm


class _HostReads(TorchFunctionMode):
    """Answers what a real GPU would be asked: values, kinds of tensors, attention's kernel."""

    def __init__(self, precision: str) -> None:
        super().__init__()
        value = 0.0 if precision == "fp16" else NORM  # Megatron reads both overflows and norms
        self._answers: dict[Any, Callable[..., Any]] = {
            torch.Tensor.item: lambda of: value if of.is_floating_point() else 0,
            torch.Tensor.__float__: lambda _: value,
            torch.Tensor.__int__: lambda _: 0,
            torch.Tensor.__bool__: lambda _: False,
            torch.Tensor.tolist: lambda of: np.zeros(of.shape).tolist(),
            torch.Tensor.is_cuda.__get__: lambda of: of.is_meta,  # type: ignore[attr-defined]
        }

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in self._answers and _is_on_gpu(args[0]):
            return self._answers[func](*args)
        if func is torch.Tensor.type and len(args) == 1 and args[0].is_meta:
            return f"torch.cuda.{_TYPES[args[0].dtype]}Tensor"
        if func is torch.tensor:
            args = (_plain(args[0]), *args[1:])
        if func is F.dropout and args[0].is_meta:
            return _dropout(*args, **kwargs)
        if func is F.scaled_dot_product_attention and args[0].is_meta:
            dropout = kwargs.get("dropout_p", 0.0)
            flash = torch.ops.aten._scaled_dot_product_flash_attention  # noqa: SLF001
            return flash(*args[:3], dropout, True, False)[0]
        return func(*args, **kwargs)


def _dropout(
    input: torch.Tensor,  # noqa: A002 - torch's own name
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,  # noqa: ARG001
) -> torch.Tensor:
    """Keep a mask of one byte an element, as the kernel for CUDA does."""
    return torch.native_dropout(input, p, training)[0] if training and p else input


def _is_on_gpu(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_meta


def _plain(values: Any) -> Any:
    """Put zeros in the place of tensors without data inside a list."""
    if isinstance(values, (list, tuple)):
        return [_plain(value) for value in values]
    return np.zeros(values.shape).tolist() if _is_on_gpu(values) else values
