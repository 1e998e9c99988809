"""Set Megatron up for this process and tear it down; the only place that adapts to its versions.

CUDA means NCCL and the GPU of LOCAL_RANK; without it the same code runs on gloo inside
`cpu.patch_cuda_calls_to_cpu`. Mirrors `initialize_megatron` of megatron/training/initialize.py.
"""

import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed
from torch.distributed import (  # type: ignore[attr-defined]
    HashStore,
    PrefixStore,
    Store,
    rendezvous,
)

from megatron_music.config import ParallelConfig, Recipe
from megatron_music.errors import LayoutError
from megatron_music.train import backends
from megatron_music.train.cpu import keep_freed_memory, patch_cuda_calls_to_cpu
from megatron_music.train.launcher import LaunchedProcess, launched_process
from megatron_music.train.torch_build import refuse_unused_gpus, refuse_without_code


@dataclass(frozen=True)
class ParallelContext:
    """This process's ranks in the layout, and its device.

    `control` is a gloo group of all ranks: small agreements pass through it without touching the
    GPU's stream.
    """

    device: torch.device
    kind: backends.Device
    rank: int
    world_size: int
    data_parallel_rank: int
    data_parallel_size: int
    control: dist.ProcessGroup

    @property
    def is_first(self) -> bool:
        """Whether this rank reports and writes for all."""
        return self.rank == 0

    @property
    def is_cuda(self) -> bool:
        """Whether this rank computes on a GPU."""
        return self.device.type == "cuda"

    def peak_memory_bytes(self) -> int:
        """Return the most memory that tensors took on this GPU, or this process on a CPU."""
        if self.is_cuda:
            return int(torch.cuda.max_memory_allocated(self.device))
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def total(self, values: list[float]) -> list[float]:
        """Return the sums of these values over all ranks, in float64."""
        if self.world_size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, group=self.control)
        return [float(value) for value in tensor]

    def wait(self) -> None:
        """Wait until every rank has reached this call."""
        if self.world_size > 1:
            dist.barrier(group=self.control)

    def reseed(self, seed: int, iteration: int) -> None:
        """Set every generator from (seed, iteration, data and pipeline rank), statelessly.

        So no generator's state lives in checkpoints. The default stream is the same over tensor
        parallel ranks; on CUDA Megatron's tracker holds one that differs.
        """
        place = (self.data_parallel_rank, parallel_state.get_pipeline_model_parallel_rank())
        state = int(np.random.SeedSequence((seed, iteration, *place)).generate_state(1)[0])
        if self.is_cuda:
            torch.manual_seed(state)
            model_parallel_cuda_manual_seed(state)
        else:  # torch.manual_seed would also queue a seed for each CUDA generator
            torch.default_generator.manual_seed(state)


@contextmanager
def start(recipe: Recipe, on_cpu: bool = False, alone: bool = False) -> Iterator[ParallelContext]:
    """Set up process groups and Megatron's parallel state; take them down at the end.

    `on_cpu` leaves a GPU alone; `alone` is one process, even where a launcher's variables name
    more. Raises UsageError and LayoutError for what this device cannot do.
    """
    parallel, process = recipe.parallel, LaunchedProcess() if alone else launched_process()
    # Before Blackwell, kernels of one connection run in the order of their launch: without that a
    # GEMM may start before the communication that it should overlap.
    if parallel.tensor_model_parallel_size > 1:  # read when CUDA starts
        os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "1")
    with ExitStack() as stack:
        device = torch.device("cpu") if on_cpu else this_device()
        kind = describe_device(device)
        backends.resolve_auto_precision(recipe, kind)
        if device.type == "cpu":
            # Share the cores among this machine's ranks, unless OMP_NUM_THREADS says otherwise
            if "OMP_NUM_THREADS" not in os.environ:
                torch.set_num_threads(
                    max(1, len(os.sched_getaffinity(0)) // process.local_world_size)
                )
            keep_freed_memory()
            stack.enter_context(patch_cuda_calls_to_cpu())
        else:
            torch.cuda.set_device(device)
        # One process needs no port: its store is in memory. A gloo group on a machine with GPUs has
        # its own prefix, so that a later NCCL group does not read its addresses.
        backend = "nccl" if device.type == "cuda" else "gloo"
        store: Store | None = None
        if process.world_size == 1:
            store = HashStore()
        elif on_cpu:
            store = PrefixStore("apart", next(rendezvous("env://"))[0])
        dist.init_process_group(
            backend,
            store=store,
            rank=process.rank if store else -1,
            world_size=process.world_size if store else -1,
            # Binds the rank to its GPU: otherwise NCCL guesses it at the first collective.
            device_id=device if device.type == "cuda" else None,
        )
        stack.callback(dist.destroy_process_group)
        stack.callback(parallel_state.destroy_model_parallel)
        yield place(parallel, device, kind)


def this_device() -> torch.device:
    """Return the GPU of LOCAL_RANK, the CPU where there is none.

    Raises LayoutError, and MissingError where torch cannot use a GPU that is there.
    """
    if not torch.cuda.is_available():
        refuse_unused_gpus()
        return torch.device("cpu")
    process, gpus = launched_process(), torch.cuda.device_count()
    if process.local_rank is None and process.world_size > 1 and gpus > 1:
        raise LayoutError(
            f"LOCAL_RANK is not set, and this process could use {gpus} GPUs; set it to the "
            "process's number on this machine, or start the processes with torchrun"
        )
    local_rank = process.local_rank or 0
    if local_rank >= gpus:
        raise LayoutError(
            f"local rank {local_rank} has no GPU: this machine has {gpus}; "
            "start one process a GPU with torchrun --nproc-per-node"
        )
    device = torch.device("cuda", local_rank)
    refuse_without_code(device)
    return device


def describe_device(device: torch.device) -> backends.Device:
    """Describe a device of this machine."""
    if device.type == "cpu":
        return backends.cpu()
    name = torch.cuda.get_device_name(device)
    return backends.gpu(name, torch.cuda.get_device_capability(device))


def place(parallel: ParallelConfig, device: torch.device, kind: backends.Device) -> ParallelContext:
    """Build the process groups of a recipe's layout; return this process's ranks."""
    parallel_state.initialize_model_parallel(
        parallel.tensor_model_parallel_size, parallel.pipeline_model_parallel_size
    )
    if device.type == "cpu":
        model_parallel_cuda_manual_seed(0, inference_rng_tracker=True)  # tracks nothing
    return ParallelContext(
        device=device,
        kind=kind,
        rank=dist.get_rank(),
        world_size=dist.get_world_size(),
        data_parallel_rank=parallel_state.get_data_parallel_rank(),
        data_parallel_size=parallel_state.get_data_parallel_world_size(),
        # NCCL would put these small agreements into the GPU's stream and wait for all work before
        # them.
        control=dist.new_group(backend="gloo"),
    )
