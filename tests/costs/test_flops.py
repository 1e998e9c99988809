"""The three formulas, against figures worked by counting every matrix product."""

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


def test_model_flops_count_every_product_forward_and_twice_backward() -> None:
    assert flops.model(SHAPE) == pytest.approx(counted(SHAPE, 1.0, 3), rel=1e-12)


def test_causal_model_flops_count_half_of_the_attention() -> None:
    assert flops.model_causal(SHAPE) == pytest.approx(counted(SHAPE, 0.5, 3), rel=1e-12)


def test_equation_3_adds_a_recomputed_forward_pass_of_the_layers() -> None:
    assert flops.equation3(SHAPE) == pytest.approx(counted(SHAPE, 1.0, 4), rel=1e-12)


@pytest.mark.parametrize(("hidden", "ratio"), [(512, 1.86), (1024, 1.67), (2048, 1.52)])
def test_the_first_formula_is_far_above_the_last_at_sequence_4096(
    hidden: int, ratio: float
) -> None:
    shape = flops.Shape(8, 4096, 24, hidden, 1)
    assert flops.equation3(shape) / flops.model_causal(shape) == pytest.approx(ratio, abs=0.01)


@pytest.mark.parametrize(("size", "padded"), [(1, 128), (128, 128), (129, 256), (431, 512)])
def test_the_vocabulary_is_padded_to_128_in_every_layout(size: int, padded: int) -> None:
    assert flops.padded_vocab_size(size) == padded


def test_a_recipe_and_a_vocabulary_decide_the_shape() -> None:
    changes = ["model.seq_length=256", "train.global_batch_size=8"]
    shape = flops.recipe_shape(load_recipe("tiny", changes), 431)
    assert shape == flops.Shape(8, 256, 1, 256, 512)
