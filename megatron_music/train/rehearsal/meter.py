"""Count what a rank computes, holds and sends, from the operators that torch dispatches."""

import weakref
from typing import Any

import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from megatron_music.costs.step_time import Phase, Transfer, Work
from megatron_music.errors import TrainingError

aten = torch.ops.aten
_ATTENTION = {
    aten._scaled_dot_product_flash_attention,  # noqa: SLF001 - have no public name
    aten._scaled_dot_product_flash_attention_backward,  # noqa: SLF001
}
_CAUSAL_SHARE = 0.5
"""Of the square that torch's formula counts: the kernel leaves the future out."""

_PHASES: dict[str, Phase] = {"forward-compute": "forward", "backward-compute": "backward"}
_KINDS = {
    "allreduce_": "all_reduce",
    "allreduce_coalesced_": "all_reduce",
    "_allgather_base_": "all_gather",
    "allgather_": "all_gather",
    "allgather_into_tensor_coalesced_": "all_gather",
    "_reduce_scatter_base_": "reduce_scatter",
    "reduce_scatter_": "reduce_scatter",
    "reduce_scatter_tensor_coalesced_": "reduce_scatter",
    "broadcast_": "broadcast",
    "reduce_": "reduce",
    "send": "send",
    "recv_": "recv",
}
"""Of torch's own operators. A name that is not here ends the rehearsal: nothing goes uncounted."""

_BETWEEN = {aten.copy_, aten._foreach_copy_}
"""Operators that may take tensors of the CPU and of the GPU."""

_SILENT = {"barrier", "monitored_barrier_"}
_SPLIT = {"all_gather", "reduce_scatter"}
_PEERS = {"send": "dst", "recv": "src"}
_FREE = {aten.empty, aten.empty_like, aten.new_empty, aten.empty_strided, aten.detach}
"""Operators that start no kernel."""


class Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts while entered; replaces Megatron's timers, too, which mark the passes."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._device = device
        self._sizes: dict[int, int] = {}
        self._open: list[Phase] = []
        self.live_bytes = 0
        self.restart()

    def restart(self) -> None:
        """Forget what was counted; what is held stays known."""
        self.work: dict[Phase, Work] = {"forward": Work(), "backward": Work(), "step": Work()}
        self.transfers: list[Transfer] = []
        self.peak_bytes = self.live_bytes

    @property
    def _phase(self) -> Phase:
        return self._open[-1] if self._open else "step"

    def __call__(self, name: str, log_level: int | None = None) -> "_Timer":  # noqa: ARG002
        """Return a substitute for Megatron's timer of this name."""
        return _Timer(self._open, _PHASES.get(name))

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operator and count it."""
        kwargs = kwargs or {}
        if func.namespace == "c10d":
            return self._send(func, args, kwargs)
        result = func(*args, **kwargs)
        given, made = self._tensors((args, kwargs)), self._tensors(result)
        if given and func.overloadpacket not in _BETWEEN:
            host = [of for of in _leaves(args) if of.dim() and of.device != self._device]
            if host:
                tensors = ", ".join(f"{_dtype(of)} {list(of.shape)}" for of in host)
                raise TrainingError(
                    f"{func} takes tensors of the CPU ({tensors}) and of the GPU at once"
                )
        for tensor in made:
            storage = tensor.untyped_storage()
            key = storage._cdata  # noqa: SLF001 - two views of a storage have it in common
            if key not in self._sizes:
                self._sizes[key] = storage.nbytes()
                self.live_bytes += self._sizes[key]
                self.peak_bytes = max(self.peak_bytes, self.live_bytes)
                # As an allocator sees it: a storage lives until its last view has gone.
                weakref.finalize(storage, self._release, key)
        if given or made:
            self._compute(func, args, kwargs, result, given, made)
        return result

    def _tensors(self, tree: Any) -> list[torch.Tensor]:
        return [
            leaf
            for leaf in tree_leaves(tree)
            if isinstance(leaf, torch.Tensor) and leaf.device == self._device
        ]

    def _release(self, key: int) -> None:
        self.live_bytes -= self._sizes.pop(key, 0)

    def _compute(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,
        given: list[torch.Tensor],
        made: list[torch.Tensor],
    ) -> None:
        work = self.work[self._phase]
        packet = func.overloadpacket
        if packet in flop_registry:
            flops = flop_registry[packet](*args, **kwargs, out_val=result)
            if packet in _ATTENTION:
                # torch counts the whole square of scores; causal kernels compute half of it.
                work.attention_flops += flops * _CAUSAL_SHARE
            else:
                size = (float(flops), float(sum(map(_size_bytes, given + made))))
                work.products[size] = work.products.get(size, 0.0) + 1
        elif func.is_view or packet in _FREE or not (made or func._schema.is_mutable):  # noqa: SLF001
            return
        else:
            written = made or given
            work.moved_bytes += sum(map(_size_bytes, given)) + sum(map(_size_bytes, written))
        work.kernels += 1

    def _send(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Note a collective, and return what it returns: its first tensors, a handle."""
        name = func.overloadpacket.__name__
        if name in _SILENT:
            return func(*args, **kwargs)
        if name not in _KINDS:
            raise TrainingError(
                f"the rehearsal does not know the collective c10d.{name}; report it"
            )
        kind, schema = _KINDS[name], func._schema.arguments  # noqa: SLF001
        known = {a.name: a.default_value for a in schema if a.has_default_value()}
        known |= dict(zip((a.name for a in schema), args, strict=False)) | kwargs
        ranks = tuple(dist.get_process_group_ranks(dist.ProcessGroup.unbox(known["process_group"])))
        sides = [side for side in map(_leaves, args) if side]
        sizes = [sum(map(_size_bytes, side)) for side in sides]
        tensors = [tensor for side in sides for tensor in side]
        # What NCCL would hang on, or answer with an error that names no tensor.
        shown = ", ".join(f"{_dtype(one)} {list(one.shape)} on {one.device}" for one in tensors)
        if len(ranks) > 1 and any(tensor.device != self._device for tensor in tensors):
            raise TrainingError(f"{kind} of a tensor that is not on the GPU: {shown}")
        if len({tensor.dtype for tensor in tensors}) > 1:
            raise TrainingError(f"{kind} of several dtypes at once: {shown}")
        if kind in _SPLIT and max(sizes) != len(ranks) * min(sizes):
            raise TrainingError(f"{kind} over {len(ranks)} ranks of sizes that do not fit: {shown}")
        largest = max(tensors, key=_size_bytes)
        if kind in _PEERS:  # from where to where
            peer, own = ranks[known[_PEERS[kind]]], dist.get_rank()
            ranks = (own, peer) if kind == "send" else (peer, own)
        self.transfers.append(
            Transfer(
                phase=self._phase,
                kind=kind,
                group="",
                ranks=ranks,
                dtype=_dtype(largest),
                shape=tuple(largest.shape),
                size_bytes=max(sizes),
                is_async=bool(known.get("async_op", known.get("asyncOp"))),
            )
        )
        with _disable_current_modes():  # the only collective that returns just a handle
            handle = torch.ops.c10d.send([torch.zeros(1)], known["process_group"], 0, 0)
        return handle if len(func._schema.returns) == 1 else (args[0], handle)  # noqa: SLF001


def _leaves(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _size_bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


class _Timer:
    """What Megatron starts and stops around a pass; others do nothing."""

    def __init__(self, stack: list[Phase], phase: Phase | None) -> None:
        self._stack, self._phase = stack, phase

    def start(self, barrier: bool = False) -> None:  # noqa: ARG002
        """Open the pass."""
        if self._phase:
            self._stack.append(self._phase)

    def stop(self, barrier: bool = False) -> None:  # noqa: ARG002
        """Close it."""
        if self._phase:
            self._stack.pop()
