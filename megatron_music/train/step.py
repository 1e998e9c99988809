"""One iteration, and one evaluation, through Megatron's own schedules.

Mirrors `train_step` and `evaluate` of megatron/training/training.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from megatron.core.models.gpt import GPTModel
from megatron.core.pipeline_parallel import get_forward_backward_func

from megatron_music.train.dataloader import DataLoader, Microbatch
from megatron_music.train.distributed import ParallelContext
from megatron_music.train.optimizer import TrainState
from megatron_music.train.profiler import PhaseTimers

Losses = list[dict[str, torch.Tensor]]
"""A microbatch's `total` loss in nats and its `tokens`; empty but on the last pipeline stage."""


@dataclass(frozen=True)
class StepResult:
    """What an iteration leaves: losses still on this rank, rate used, norm before clipping.

    The norm is None where fp16 overflowed and the update was skipped.
    """

    losses: Losses
    learning_rate: float
    grad_norm: float | None


def train_step(
    train_state: TrainState,
    loader: DataLoader,
    context: ParallelContext,
    seed: int,
    iteration: int,
    timers: PhaseTimers,
) -> StepResult:
    """Update the weights with global batch `iteration`, counted from 1.

    The result is a pure function of (weights, moments, seed, iteration).
    """
    # Dropout then depends on the iteration alone: a resumed run draws what the first would have
    # drawn.
    context.reseed(seed, iteration)
    # Before the update, not after it as in Megatron: iteration 1 has the rate of step 1, not 0.
    train_state.scheduler.step(1)
    rate = train_state.learning_rate
    train_state.parallel.train()
    train_state.zero_grad()
    data = timers.each(loader.training(iteration), "data")
    losses = _pass(train_state, loader, data, forward_only=False)
    with timers.phase("optimizer"):
        # An update that was skipped, since fp16 overflowed, has no norm.
        _, grad_norm, _ = train_state.optimizer.step()
    return StepResult(losses, rate, None if grad_norm is None else float(grad_norm))


def evaluate(train_state: TrainState, loader: DataLoader, context: ParallelContext) -> float:
    """Return the validation loss in nats a token; the same documents every time."""
    train_state.parallel.eval()
    with torch.no_grad(), train_state.all_params_gathered():
        losses = [
            loss
            for batch in loader.validation()
            for loss in _pass(train_state, loader, batch, forward_only=True)
        ]
    train_state.parallel.train()
    return mean_loss(losses, context)


def mean_loss(losses: Losses, context: ParallelContext) -> float:
    """Return nats a token over all ranks; tensor parallel copies cancel out."""
    total = sum(float(loss["total"]) for loss in losses)
    tokens = sum(float(loss["tokens"]) for loss in losses)
    total, tokens = context.total([total, tokens])
    return total / tokens


def _pass(
    train_state: TrainState, loader: DataLoader, data: Iterator[Microbatch], forward_only: bool
) -> Losses:
    losses: Losses = get_forward_backward_func()(
        forward_step_func=_forward,
        data_iterator=data,
        model=[train_state.parallel],
        num_microbatches=loader.microbatches,
        # A microbatch is one sequence of packed documents.
        seq_length=loader.micro_batch_size * loader.seq_length,
        micro_batch_size=1,
        forward_only=forward_only,
    )
    return losses


def _forward(data: Iterator[Microbatch], model: GPTModel) -> tuple[torch.Tensor, Any]:
    batch = next(data)
    losses = model(
        batch.tokens,
        batch.position_ids,
        None,
        labels=batch.labels,
        packed_seq_params=batch.spans,
    )
    return losses, partial(_loss, batch)


def _loss(batch: Microbatch, losses: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return a microbatch's part of the mean over all labels of the global batch.

    Megatron averages over microbatches and ranks, so every label has the same weight.
    """
    # In fp32: a sum over thousands of labels in bf16 would keep three digits.
    total = (losses.float() * batch.loss_mask).sum()
    sums = {"total": total.detach(), "tokens": batch.loss_mask.sum()}
    return total / batch.mean_label_tokens, sums
