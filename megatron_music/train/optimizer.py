"""Megatron's data parallel wrapper, optimizer and learning rate schedule for a recipe.

Mirrors `setup_model_and_optimizer` of megatron/training/training.py.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from megatron.core.distributed import (
    DistributedDataParallel,
    DistributedDataParallelConfig,
    finalize_model_grads,
)
from megatron.core.models.gpt import GPTModel
from megatron.core.optimizer import MegatronOptimizer, OptimizerConfig, get_megatron_optimizer
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler
from megatron.core.transformer.module import Float16Module

from megatron_music.config import Recipe, TrainConfig
from megatron_music.train.backends import Overlaps, choose_overlaps
from megatron_music.train.distributed import ParallelContext
from megatron_music.train.hyperparameters import ADAM_BETAS, ADAM_EPSILON, warmup_iters
from megatron_music.train.model import DTYPES
from megatron_music.train.muon import first_moments, use_muon


@dataclass(frozen=True)
class TrainState:
    """A model with its optimizer and schedule; `parallel` is the DDP wrapper of `model`."""

    model: GPTModel
    parallel: DistributedDataParallel
    optimizer: MegatronOptimizer
    scheduler: OptimizerParamScheduler

    @property
    def learning_rate(self) -> float:
        """Return the learning rate of the next update."""
        return float(self.optimizer.param_groups[0]["lr"])

    def zero_grad(self) -> None:
        """Clear the gradients of the last iteration."""
        self.parallel.zero_grad_buffer()
        self.optimizer.zero_grad()

    def init_adam_state(self) -> None:
        """Give Adam the moments it begins with, where it has none: fp16 may have skipped so far.

        Megatron's distributed optimizer neither saves nor loads a state that is not there yet.
        """
        for inner in self._torch_adams():
            if not inner.state:
                for parameter in (p for group in inner.param_groups for p in group["params"]):
                    inner.state[parameter] = first_moments(parameter)

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Take up a loaded optimizer state.

        Megatron's distributed optimizer fails on the `step` that torch's Adam keeps with its
        moments (Apex's and Transformer Engine's do not), and gives all parameters one counter: so
        the steps are removed meanwhile and restored for each parameter.
        """
        own = [group for part in self._torch_adams() for group in part.state.values()]
        late = state.pop("param_state") if own and "param_state" in state else None
        self.optimizer.load_state_dict(state)
        if late is None:
            return
        (part,) = self.optimizer.chained_optimizers
        kept = [(moments, moments.pop("step")) for moments in part.optimizer.state.values()]
        part.load_parameter_state_from_fully_reshardable(late)
        for moments, step in kept:
            moments["step"] = step.clone()

    def _torch_adams(self) -> list[torch.optim.Optimizer]:
        parts = getattr(self.optimizer, "chained_optimizers", [self.optimizer])
        kinds = (torch.optim.Adam, torch.optim.AdamW)
        return [part.optimizer for part in parts if isinstance(part.optimizer, kinds)]

    @contextmanager
    def all_params_gathered(self) -> Iterator[None]:
        """Have every rank hold all current weights while open, also those gathered in forward."""
        late = self.parallel.ddp_config.overlap_param_gather
        if late:
            self.parallel.disable_forward_pre_hook()
        yield
        if late:
            self.parallel.enable_forward_pre_hook()

    def set_schedule_step(self, iteration: int, train: TrainConfig) -> None:
        """Take up the schedule at an iteration: rates follow the recipe, not the checkpoint."""
        # torch's Adam, where it is used, updates all weights in one pass. It keeps its
        # `step` on the device, unlike the one that wrote an older checkpoint.
        for inner in self._torch_adams():
            for group in inner.param_groups:
                group["fused"], group["foreach"] = True, False
            for parameter, state in inner.state.items():
                state["step"] = state["step"].to(parameter.device)
        for group in self.optimizer.param_groups:
            group["max_lr"], group["min_lr"] = train.lr, train.min_lr
        self.scheduler.step(iteration)


def build_train_state(recipe: Recipe, model: GPTModel, context: ParallelContext) -> TrainState:
    """Wrap a bare model for training in the recipe's precision and layout.

    Raises LayoutError for overlaps that cannot be had.
    """
    config = model.config
    overlaps = choose_overlaps(recipe, context.kind, context.data_parallel_size)
    parallel = DistributedDataParallel(
        config=config,
        ddp_config=DistributedDataParallelConfig(
            # In bf16 the sum over many ranks loses small gradients.
            grad_reduce_in_fp32=True,
            use_distributed_optimizer=recipe.parallel.use_distributed_optimizer,
            overlap_grad_reduce=overlaps.grad_reduce,
            overlap_param_gather=overlaps.param_gather,
        ),
        module=model if recipe.train.precision == "fp32" else Float16Module(config, model),
    )
    # Replicas are drawn from one seed; this makes them equal even where their generators differ.
    parallel.broadcast_params()
    optimizer = get_megatron_optimizer(_optimizer_config(recipe, overlaps), [parallel])
    if recipe.train.optimizer == "muon":
        head_width = config.hidden_size // config.num_attention_heads
        for part in getattr(optimizer, "chained_optimizers", [optimizer]):
            use_muon(model, part.optimizer, head_width, recipe.train.muon_lr / recipe.train.lr)
    # Megatron's schedules look for these hooks on the model's configuration. The first reduces
    # gradients over ranks, those of the tied embedding over pipeline stages as well.
    config.finalize_model_grads_func = finalize_model_grads
    config.grad_scale_func = optimizer.scale_loss
    if overlaps.grad_reduce:
        config.no_sync_func = parallel.no_sync
    return TrainState(model, parallel, optimizer, rate_scheduler(recipe.train, optimizer))


def _optimizer_config(recipe: Recipe, overlaps: Overlaps) -> OptimizerConfig:
    train = recipe.train
    dtype = DTYPES[train.precision]
    return OptimizerConfig(
        optimizer="adam",
        lr=train.lr,
        min_lr=train.min_lr,
        weight_decay=train.weight_decay,
        adam_beta1=ADAM_BETAS[0],
        adam_beta2=ADAM_BETAS[1],
        adam_eps=ADAM_EPSILON,
        clip_grad=train.clip_grad or math.inf,  # 0 means no clipping; the norm is still wanted
        bf16=dtype is torch.bfloat16,
        fp16=dtype is torch.float16,
        initial_loss_scale=train.initial_loss_scale,
        params_dtype=dtype,
        use_distributed_optimizer=recipe.parallel.use_distributed_optimizer,
        overlap_param_gather=overlaps.param_gather,
    )


def rate_scheduler(train: TrainConfig, optimizer: MegatronOptimizer) -> OptimizerParamScheduler:
    """Warm up linearly, then decay by a cosine to `min_lr` at the last iteration."""
    return OptimizerParamScheduler(
        optimizer,
        init_lr=0.0,
        max_lr=train.lr,
        min_lr=train.min_lr,
        lr_warmup_steps=warmup_iters(train),
        lr_decay_steps=train.train_iters,
        lr_decay_style="cosine",
        start_wd=train.weight_decay,
        end_wd=train.weight_decay,
        wd_incr_steps=train.train_iters,
        wd_incr_style="constant",
    )
