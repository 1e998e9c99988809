"""Muon: singular values made alike, in blocks that no layout splits; a run that resumes exactly."""

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("megatron.core")

from megatron_music.config import load_recipe  # noqa: E402
from megatron_music.errors import RecipeError  # noqa: E402
from megatron_music.train.muon import inverse_square_roots, use_muon  # noqa: E402
from tests.train.conftest import losses  # noqa: E402

MUON = ["train.optimizer=muon", "train.train_iters=6", "log.save_interval=3"]
TOLERANCE = 1e-5


def orthogonalized(blocks: Any) -> Any:
    return inverse_square_roots(blocks @ blocks.mT) @ blocks


def test_singular_values_come_near_one() -> None:
    torch.manual_seed(0)
    blocks = torch.randn(5, 16, 64, dtype=torch.float64) * torch.logspace(-3, 3, 5)[:, None, None]
    values = torch.linalg.svdvals(orthogonalized(blocks))
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_the_update_keeps_the_directions_of_the_gradient() -> None:
    torch.manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))[0] for _ in range(2))
    block = left @ torch.diag(torch.linspace(0.5, 2, 8, dtype=torch.float64)) @ right
    turned = left.T @ orthogonalized(block[None])[0] @ right.T
    assert (turned - torch.diag(turned.diagonal())).abs().max() < 1e-9


class Block(torch.nn.Module):
    """The matrices of a block of two heads of width 4, named as Megatron names them."""

    def __init__(self) -> None:
        super().__init__()
        self.linear_qkv = torch.nn.Linear(8, 24, bias=False)
        self.linear_proj = torch.nn.Linear(8, 8, bias=False)
        self.norm = torch.nn.LayerNorm(8)


def updated(first_head_alone: bool) -> Any:
    """Return how one step moves the first head's weights, alone or with the other's gradient."""
    torch.manual_seed(0)
    block = Block()
    optimizer = torch.optim.AdamW(block.parameters(), lr=0.1, weight_decay=0.0)
    use_muon(block, optimizer, head_width=4, ratio=1.0)
    for parameter in block.parameters():
        parameter.grad = torch.randn_like(parameter)
    if first_head_alone:
        block.linear_qkv.weight.grad[12:] = 0
        block.linear_proj.weight.grad[:, 4:] = 0
    before = [block.linear_qkv.weight.clone()[:12], block.linear_proj.weight.clone()[:, :4]]
    optimizer.step()
    after = [block.linear_qkv.weight[:12], block.linear_proj.weight[:, :4]]
    return [a - b for a, b in zip(after, before, strict=True)]


def test_a_heads_update_does_not_depend_on_other_heads() -> None:
    for one, other in zip(updated(True), updated(False), strict=True):
        torch.testing.assert_close(one, other)


def test_adam_updates_all_else() -> None:
    block = Block()
    optimizer = torch.optim.AdamW(block.parameters(), lr=0.1)
    use_muon(block, optimizer, head_width=4, ratio=1.0)
    for parameter in block.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert float(optimizer.state[block.norm.weight]["exp_avg_sq"].min()) > 0
    assert not optimizer.state[block.linear_qkv.weight]["exp_avg_sq"].any()


def test_the_distributed_optimizer_is_refused() -> None:
    with pytest.raises(RecipeError, match="use_distributed_optimizer=true cuts them anywhere"):
        load_recipe("tiny", ["train.optimizer=muon", "parallel.use_distributed_optimizer=true"])


@pytest.mark.slow
def test_layouts_agree_and_a_checkpoint_resumes_in_another(train: Any, tmp_path: Path) -> None:
    train(tmp_path / "one", *MUON)
    train(tmp_path / "two", *MUON, "parallel.tensor_model_parallel_size=2", processes=2)
    one = losses(tmp_path / "one")
    assert one[6] < one[1] - 0.1
    assert losses(tmp_path / "two") == pytest.approx(one, abs=TOLERANCE)
    checkpoints = tmp_path / "two" / "checkpoints"
    (checkpoints / "latest").unlink()
    (checkpoints / "latest").symlink_to("step_3")
    (checkpoints / "step_6").rename(tmp_path / "gone")
    train(tmp_path / "two", *MUON)
    assert losses(tmp_path / "two") == pytest.approx(one, abs=TOLERANCE)
