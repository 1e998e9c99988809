"""Build and step every distinct rank of a layout without a GPU, and compare what they send."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import parallel_state

from megatron_music.config import LogConfig, Recipe
from megatron_music.costs.layout import check_layout
from megatron_music.costs.step_time import Agreed, RankLoad, RankMemory, Transfer
from megatron_music.errors import TrainingError
from megatron_music.tokenizer.load import AnyVocabulary
from megatron_music.train import backends
from megatron_music.train.blend import Blend
from megatron_music.train.dataloader import DataLoader, Microbatch, mapped
from megatron_music.train.datasets import check_data
from megatron_music.train.distributed import ParallelContext
from megatron_music.train.model import build_model
from megatron_music.train.optimizer import build_train_state
from megatron_music.train.profiler import PhaseTimers
from megatron_music.train.rehearsal.fake_gpu import GPU, fake_rank
from megatron_music.train.rehearsal.meter import Meter
from megatron_music.train.request import TrainingRequest
from megatron_music.train.run_dir import RunDir
from megatron_music.train.step import train_step

_UNPROFILED = LogConfig()
RankProgress = Callable[[int, int], None]
"""Called with the number of finished ranks and of all."""


def rehearse(
    recipe: Recipe,
    blend: Blend,
    kind: backends.Device,
    world_size: int,
    progress: RankProgress = lambda *_: None,
) -> list[RankLoad]:
    """Take a training step of every distinct rank of `world_size` GPUs, on real samples.

    The first, a middle and the last pipeline stage, of each the first and the last data parallel
    rank (and tensor parallel rank). The recipe's precision is settled. Raises LayoutError,
    UsageError, DataError, and TrainingError where ranks would not understand one another.
    """
    check_layout(recipe, world_size)
    loader, vocabulary = _loader(recipe, blend, kind, world_size)
    sample = next(loader.training(1))
    ranks = distinct_ranks(recipe, world_size)
    loads = []
    for done, rank in enumerate(ranks):
        progress(done, len(ranks))
        loads.append(_rehearse_rank(recipe, vocabulary, loader, sample, kind, rank, world_size))
    progress(len(ranks), len(ranks))
    check_agreement(loads)
    return loads


def distinct_ranks(recipe: Recipe, world_size: int) -> list[int]:
    """Return the ranks that differ from one another in what they hold or send, in order."""
    parallel = recipe.parallel
    stages, tensor = parallel.pipeline_model_parallel_size, parallel.tensor_model_parallel_size
    of_stage = world_size // stages
    firsts = sorted({0, min(1, stages - 1), stages - 1})
    ends = (0, of_stage - 1) if of_stage > tensor else (0,)
    return [stage * of_stage + end for stage in firsts for end in ends]


def _loader(
    recipe: Recipe, blend: Blend, kind: backends.Device, world_size: int
) -> tuple[DataLoader, AnyVocabulary]:
    """Read samples as a run does, before any process group is there."""
    train = recipe.train.model_copy(update={"train_iters": 1})
    log = recipe.log.model_copy(update={"eval_interval": 0})
    short = recipe.model_copy(update={"train": train, "log": log})
    checked = check_data(blend, short)
    request = TrainingRequest(short, checked.blend, RunDir(Path()), checked.vocabulary)
    parallel = recipe.parallel
    model = parallel.tensor_model_parallel_size * parallel.pipeline_model_parallel_size
    alone = ParallelContext(
        device=torch.device("cpu"),
        kind=kind,
        rank=0,
        world_size=1,
        data_parallel_rank=0,
        data_parallel_size=world_size // model,
        control=dist.group.WORLD,  # type: ignore[arg-type]  # alone there is none
    )
    return DataLoader(request, alone, read_ahead=0), checked.vocabulary


class _Repeated:
    """One microbatch on the GPU, as often as fills the pipeline: more cost no more memory.

    All other fields are those of the engine's own loader.
    """

    def __init__(self, loader: DataLoader, sample: Microbatch, count: int) -> None:
        self._loader, self._sample, self.microbatches = loader, sample, count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def training(self, iteration: int) -> Iterator[Microbatch]:  # noqa: ARG002
        """Yield the same microbatch, each time in new tensors."""
        for _ in range(self.microbatches):
            yield mapped(self._sample, lambda tensor: torch.empty_like(tensor, device=GPU))


def _rehearse_rank(
    recipe: Recipe,
    vocabulary: AnyVocabulary,
    loader: DataLoader,
    sample: Microbatch,
    kind: backends.Device,
    rank: int,
    world_size: int,
) -> RankLoad:
    with fake_rank(recipe, kind, rank, world_size) as context:
        meter = Meter(GPU)
        with meter:
            with GPU:  # weights begin there: without data there is nothing to move
                model = build_model(recipe, vocabulary, context)
            train_state = build_train_state(recipe, model, context)
            train_state.init_adam_state()
            train_state.set_schedule_step(0, recipe.train)
            model.config.timers = meter
            timers = PhaseTimers(_UNPROFILED, context)
            held = meter.live_bytes
            weights = _storages_bytes(list(train_state.parallel.parameters()))
            gradients = _storages_bytes([of.grad_data for of in train_state.parallel.buffers])
            passes = min(loader.microbatches, recipe.parallel.pipeline_model_parallel_size)
            # Megatron learns in the first step in which order gradients come, then overlaps.
            for iteration, count in ((1, 1), (2, passes)):
                meter.restart()
                repeated: Any = _Repeated(loader, sample, count)
                train_step(train_state, repeated, context, recipe.train.seed, iteration, timers)
        return RankLoad(
            rank=rank,
            stage=parallel_state.get_pipeline_model_parallel_rank(),
            data_rank=context.data_parallel_rank,
            memory=RankMemory(
                weights=weights,
                gradients=gradients,
                optimizer=held - weights - gradients,
                activations=meter.peak_bytes - held,
            ),
            work={
                phase: one if phase == "step" else one.one_of(passes)
                for phase, one in meter.work.items()
            },
            transfers=_merged(meter.transfers, passes),
        )


def _storages_bytes(tensors: list[torch.Tensor]) -> int:
    storages = [tensor.untyped_storage() for tensor in tensors]
    return sum({one._cdata: one.nbytes() for one in storages}.values())  # noqa: SLF001


def _merged(transfers: list[Transfer], passes: int) -> tuple[Transfer, ...]:
    """Count equal transfers as one, and name their groups; a group of one rank sends nothing."""
    # A transfer tells only which ranks it is between. Of groups of the same ranks the last counts.
    by_name = {
        "embedding": parallel_state.get_embedding_group(check_initialized=False),
        "tensor": parallel_state.get_tensor_model_parallel_group(),
        "data": parallel_state.get_data_parallel_group(),
    }
    members = dist.get_process_group_ranks
    groups = {tuple(members(group)): name for name, group in by_name.items() if group is not None}
    named = [
        replace(
            one, group="pipeline" if one.kind in ("send", "recv") else groups.get(one.ranks, "all")
        )
        for one in transfers
        if len(one.ranks) > 1
    ]
    return tuple(
        replace(one, calls=count if one.is_once else count / passes)
        for one, count in Counter(named).items()
    )


def check_agreement(loads: list[RankLoad]) -> None:
    """Raise TrainingError where ranks that meet in a collective would not send the same."""
    for one, other in pairwise(loads):
        if one.stage == other.stage:
            _agree(one, other, _collectives(one), _collectives(other))
    stages = [load for load in loads if load.data_rank == 0]
    for lower, upper in pairwise(stages):
        _agree(lower, upper, _passed(lower, "send", True), _passed(upper, "recv", False))
        _agree(upper, lower, _passed(upper, "send", False), _passed(lower, "recv", True))
    ends = [_collectives(load, "embedding") for load in (stages[0], stages[-1])]
    _agree(stages[0], stages[-1], *ends)


def _collectives(load: RankLoad, group: str | None = None) -> list[Agreed]:
    return [
        transfer.agreed
        for transfer in load.transfers
        if transfer.group != "pipeline" and group in (None, transfer.group)
    ]


def _passed(load: RankLoad, kind: str, upwards: bool) -> list[Agreed]:
    """Return what a stage sends to, or receives from, the next one or the one before."""
    return [
        ("", *transfer.agreed[1:])
        for transfer in load.transfers
        if transfer.kind == kind
        and ((transfer.ranks[0] < transfer.ranks[1]) == upwards) == (kind == "send")
    ]


def _agree(one: RankLoad, other: RankLoad, sent: list[Agreed], expected: list[Agreed]) -> None:
    differing = set(sent) ^ set(expected)
    if differing:
        raise TrainingError(
            f"ranks {one.rank} and {other.rank} would wait for one another: only one of them has "
            f"{' '.join(map(str, min(differing, key=str)))}; report it"
        )
