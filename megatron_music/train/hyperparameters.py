"""What is the same for every recipe: the numbers of the optimizer and of the initial weights."""

import math

from megatron_music.config import TrainConfig

ADAM_BETAS = (0.9, 0.95)
ADAM_EPSILON = 1e-8
INIT_STD = 0.02
LAYERNORM_EPSILON = 1e-5


def warmup_iters(train: TrainConfig) -> int:
    """Return the iterations of the warm-up; the last one always ends at the lowest rate."""
    return min(train.lr_warmup_iters, train.train_iters - 1)


def learning_rate(train: TrainConfig, iteration: int) -> float:
    """Return the rate of an iteration, counted from 1: linear warm-up, a cosine to `min_lr`.

    As Megatron's OptimizerParamScheduler, for who trains without it.
    """
    warmup = warmup_iters(train)
    if iteration <= warmup:
        return train.lr * iteration / warmup
    done = (iteration - warmup) / (train.train_iters - warmup)
    return train.min_lr + (train.lr - train.min_lr) * (1 + math.cos(math.pi * min(done, 1.0))) / 2
