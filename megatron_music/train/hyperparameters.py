"""What is the same for every recipe: the numbers of the optimizer and of the initial weights."""

from megatron_music.config import TrainConfig

ADAM_BETAS = (0.9, 0.95)
ADAM_EPSILON = 1e-8
INIT_STD = 0.02
LAYERNORM_EPSILON = 1e-5


def warmup_iters(train: TrainConfig) -> int:
    """Return the iterations of the warm-up; the last one always ends at the lowest rate."""
    return min(train.lr_warmup_iters, train.train_iters - 1)
