"""The recipe's rates are those of Megatron's own scheduler."""

import pytest

from megatron_music.config import load_recipe
from megatron_music.train.hyperparameters import learning_rate

torch = pytest.importorskip("torch")
pytest.importorskip("megatron.core")

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("warmup", [0, 1, 20, 100])
def test_a_rate_is_megatrons(warmup: int) -> None:
    from megatron_music.train.optimizer import rate_scheduler

    words = ["train.train_iters=100", f"train.lr_warmup_iters={warmup}", "train.min_lr=1e-4"]
    train = load_recipe("tiny", words).train
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = rate_scheduler(train, optimizer)
    for iteration in range(1, 101):
        scheduler.step(1)
        rate = optimizer.param_groups[0]["lr"]
        assert learning_rate(train, iteration) == pytest.approx(rate, rel=1e-12)
