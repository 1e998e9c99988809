"""Layers that nothing splits give what Megatron's own give, and torch's Adam works in one pass."""

from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("megatron.core")

from megatron.core.tensor_parallel import ColumnParallelLinear, RowParallelLinear  # noqa: E402

from megatron_music.config import load_recipe  # noqa: E402
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary  # noqa: E402
from megatron_music.train import engine as engines  # noqa: E402
from megatron_music.train.linear import WholeColumnLinear, WholeRowLinear  # noqa: E402
from megatron_music.train.model import build_model  # noqa: E402
from megatron_music.train.optimizer import build_learner  # noqa: E402
from tests.train.conftest import SMALL  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
RECIPE = load_recipe("tiny", [*SMALL, "train.train_iters=6"])


@pytest.fixture
def learner() -> Iterator[Any]:
    with engines.start(RECIPE, on_cpu=True) as engine:
        model = build_model(RECIPE, Vocabulary(TokenizerSettings()), engine)
        yield build_learner(RECIPE, model, engine)


def test_the_bias_inside_the_product_changes_nothing(learner: Any) -> None:
    layer = learner.model.decoder.layers[0]
    for module, kind, theirs in [
        (layer.self_attention.linear_qkv, WholeColumnLinear, ColumnParallelLinear),
        (layer.self_attention.linear_proj, WholeRowLinear, RowParallelLinear),
        (layer.mlp.linear_fc1, WholeColumnLinear, ColumnParallelLinear),
        (layer.mlp.linear_fc2, WholeRowLinear, RowParallelLinear),
    ]:
        assert type(module) is kind
        torch.nn.init.normal_(module.bias)
        given = torch.randn(5, 2, module.weight.shape[1])
        result, to_add = module(given)
        expected, bias = theirs.forward(module, given)
        assert to_add is None
        torch.testing.assert_close(result, expected if bias is None else expected + bias)


def test_an_optimizer_saved_by_another_adam_goes_on_in_one_pass(learner: Any) -> None:
    learner.begin_moments()
    groups = learner.optimizer.param_groups
    for group in groups:
        group["fused"] = None  # as a checkpoint of before says
    learner.fast_forward(3, RECIPE.train)
    assert all(group["fused"] for group in groups)
    before = [parameter.detach().clone() for parameter in learner.model.parameters()]
    for parameter in learner.model.parameters():
        parameter.main_grad.fill_(0.1)
    succeeded, *_ = learner.optimizer.step()
    assert succeeded
    for parameter, old in zip(learner.model.parameters(), before, strict=True):
        assert (parameter < old).all()
