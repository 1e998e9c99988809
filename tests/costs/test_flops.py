"""The three formulas, against figures worked by counting every matrix product."""

from collections.abc import Callable

import pytest

from megatron_music.config import load_recipe
from megatron_music.costs import flops

SHAPE = flops.Shape(
    global_batch_size=8, seq_length=4096, num_layers=24, hidden_size=1024, padded_vocab_size=1024
)


def counted(shape: flops.Shape, attention_share: float, layer_passes: int) -> float:
    """Count the matrix products one by one; the logits always pass three times."""
    b, s, h = shape.global_batch_size, shape.seq_length, shape.hidden_size
    projections = 2 * b * s * (3 * h * h + h * h + 4 * h * h + 4 * h * h)
    attention = 2 * 2 * b * s * s * h * attention_share
    logits = 2 * b * s * h * shape.padded_vocab_size
    return shape.num_layers * (projections + attention) * layer_passes + 3 * logits


@pytest.mark.parametrize(
    ("formula", "attention_share", "layer_passes"),
    [(flops.model, 1.0, 3), (flops.model_causal, 0.5, 3), (flops.equation3, 1.0, 4)],
)
def test_a_formula_counts_every_product_forward_and_twice_backward(
    formula: Callable[[flops.Shape], float], attention_share: float, layer_passes: int
) -> None:
    """Equation 3 adds a forward pass of the layers, repeated; the causal one halves attention."""
    assert formula(SHAPE) == pytest.approx(counted(SHAPE, attention_share, layer_passes), rel=1e-12)


@pytest.mark.parametrize(("size", "padded"), [(1, 128), (128, 128), (129, 256), (431, 512)])
def test_the_vocabulary_is_padded_to_128_in_every_layout(size: int, padded: int) -> None:
    assert flops.padded_vocab_size(size) == padded


def test_a_recipe_and_a_vocabulary_decide_the_shape() -> None:
    changes = ["model.seq_length=256", "train.global_batch_size=8"]
    shape = flops.recipe_shape(load_recipe("tiny", changes), 431)
    assert shape == flops.Shape(8, 256, 1, 256, 512)
