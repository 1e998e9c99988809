"""Memory and FLOPs against Megatron's own formulas, for the argument list of the same recipe."""

import pytest

from megatron_music.costs.flops import model_causal, recipe_shape
from megatron_music.costs.layout import check_layout
from megatron_music.costs.memory import Memory, estimate_memory
from tests.reference.cases import CASES, VOCABULARY_SIZE, Case, answers

pytestmark = pytest.mark.slow

BYTES_A_PARAMETER = 18
"""bf16 weights, fp32 gradients, fp32 weights, two fp32 moments."""

WITH_MASKS = [case for case in CASES if case.recipe.model.hidden_dropout]
"""Megatron's activations count dropout masks, whether there is dropout or not."""


def estimated(case: Case) -> Memory:
    return estimate_memory(case.recipe, VOCABULARY_SIZE, check_layout(case.recipe, case.world))


def left_out(case: Case) -> int:
    """Count what Megatron does not: the biases of linear layers, and the positions."""
    shape = case.recipe.model
    return (9 * shape.num_layers + shape.seq_length) * shape.hidden_size


def state(memory: Memory) -> float:
    return memory.weights + memory.gradients + memory.optimizer


@pytest.mark.parametrize("case", CASES, ids=str)
def test_flops_of_an_iteration_are_megatrons(case: Case) -> None:
    ours = model_causal(recipe_shape(case.recipe, VOCABULARY_SIZE))
    assert ours == pytest.approx(answers()[case]["flops"], rel=1e-12)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_weights_gradients_and_optimizer_are_megatrons_within_what_it_leaves_out(
    case: Case,
) -> None:
    theirs = answers()[case]["state_bytes"]
    assert 0 < state(estimated(case)) - theirs <= BYTES_A_PARAMETER * left_out(case)


@pytest.mark.parametrize("case", [CASES[0], CASES[7], CASES[9]], ids=str)
def test_what_megatron_leaves_out_is_biases_and_positions(case: Case) -> None:
    theirs = answers()[case]["state_bytes"]
    assert state(estimated(case)) == theirs + BYTES_A_PARAMETER * left_out(case)


@pytest.mark.parametrize(
    "case", [c for c in WITH_MASKS if c.recipe.train.recompute != "full"], ids=str
)
def test_activations_are_megatrons(case: Case) -> None:
    theirs = answers()[case]["activation_bytes"]
    assert estimated(case).activations == pytest.approx(theirs, rel=2e-3)
