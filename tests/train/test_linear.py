"""Layers that nothing splits give what Megatron's own give, and torch's Adam works in one pass."""

from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("megatron.core")

from megatron.core.tensor_parallel import ColumnParallelLinear, RowParallelLinear  # noqa: E402

from megatron_music.config import load_recipe  # noqa: E402
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary  # noqa: E402
from megatron_music.train import distributed  # noqa: E402
from megatron_music.train.layers import UnshardedColumnLinear, UnshardedRowLinear  # noqa: E402
from megatron_music.train.model import build_model  # noqa: E402
from megatron_music.train.optimizer import build_train_state  # noqa: E402
from tests.train.conftest import SMALL  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
RECIPE = load_recipe("tiny", [*SMALL, "train.train_iters=6"])


@pytest.fixture
def train_state() -> Iterator[Any]:
    with distributed.start(RECIPE, on_cpu=True) as context:
        model = build_model(RECIPE, Vocabulary(TokenizerSettings()), context)
        yield build_train_state(RECIPE, model, context)


def test_the_bias_inside_the_product_changes_nothing(train_state: Any) -> None:
    layer = train_state.model.decoder.layers[0]
    for module, kind, theirs in [
        (layer.self_attention.linear_qkv, UnshardedColumnLinear, ColumnParallelLinear),
        (layer.self_attention.linear_proj, UnshardedRowLinear, RowParallelLinear),
        (layer.mlp.linear_fc1, UnshardedColumnLinear, ColumnParallelLinear),
        (layer.mlp.linear_fc2, UnshardedRowLinear, RowParallelLinear),
    ]:
        assert type(module) is kind
        torch.nn.init.normal_(module.bias)
        given = torch.randn(5, 2, module.weight.shape[1])
        result, to_add = module(given)
        expected, bias = theirs.forward(module, given)
        assert to_add is None
        torch.testing.assert_close(result, expected if bias is None else expected + bias)


def test_an_optimizer_saved_by_another_adam_resumes(train_state: Any) -> None:
    train_state.init_adam_state()
    groups = train_state.optimizer.param_groups
    for group in groups:
        group["fused"] = None  # as a checkpoint of before says
    train_state.set_schedule_step(3, RECIPE.train)
    assert all(group["fused"] for group in groups)
    before = [parameter.detach().clone() for parameter in train_state.model.parameters()]
    for parameter in train_state.model.parameters():
        parameter.main_grad.fill_(0.1)
    succeeded, *_ = train_state.optimizer.step()
    assert succeeded
    for parameter, old in zip(train_state.model.parameters(), before, strict=True):
        assert (parameter < old).all()
