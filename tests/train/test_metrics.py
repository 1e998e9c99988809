"""A loss that has left the ground is told from a hard batch."""

import math

import pytest

from megatron_music.train.metrics import PATIENCE, LossGuard

FALLING = [6.0 - 0.2 * step for step in range(20)]


def faults(guard: LossGuard, losses: list[float]) -> list[bool]:
    return [bool(guard.fault(loss)) for loss in losses]


@pytest.mark.parametrize(
    ("limit_nats", "usual", "losses"),
    [
        (1.0, [], [*FALLING, 2.0, 2.9, 1.8, 2.4]),  # falling and noisy
        (1.0, [2.0] * 20, [9.0, 2.0, 9.0, 9.0]),  # rises that do not stay
        (0.1, [], [2.0, 9.0]),  # nothing is usual at the start
        (0.0, [2.0] * 20, [9.0] * PATIENCE),  # 0 allows every rise
    ],
)
def test_a_loss_that_comes_back_is_left_alone(
    limit_nats: float, usual: list[float], losses: list[float]
) -> None:
    assert not any(faults(LossGuard(limit_nats, usual), losses))


def test_only_a_rise_that_stays_is_a_spike() -> None:
    guard = LossGuard(1.0, [2.0] * 20)
    faults(guard, [9.0, 2.0, 9.0, 9.0])
    assert "stayed more than train.loss_spike_nats=1 above the 2.00 before" in guard.fault(9.0)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_a_fault_at_once(loss: float) -> None:
    assert "the loss became" in LossGuard(0.0).fault(loss)


def test_a_resumed_run_knows_the_usual_loss() -> None:
    whole = LossGuard(1.0)
    faults(whole, FALLING)
    assert faults(whole, [9.0] * 3) == faults(LossGuard(1.0, FALLING), [9.0] * 3)
