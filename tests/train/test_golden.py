"""Training comes to the losses it came to before, to the version of megatron-core."""

from pathlib import Path

import pytest

from tests import golden

ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-3
"""Nats a token: processors round differently, and twenty steps add that up."""


@pytest.mark.slow
def test_twenty_iterations_of_tiny_lose_what_they_lost(tmp_path: Path) -> None:
    pytest.importorskip("megatron.core")
    stored = golden.stored()
    expected = stored["losses"].get(golden.version())
    if expected is None:
        pytest.skip(f"no losses of megatron-core {golden.version()}: python -m tests.golden")
    assert golden.trained(stored["recipe"], tmp_path) == pytest.approx(expected, abs=TOLERANCE)


def test_losses_are_kept_for_the_version_that_set_up_installs() -> None:
    kept = golden.stored()["losses"]
    pins = (ROOT / "constraints" / "py311.txt").read_text().split()
    assert {pin.removeprefix("megatron-core==") for pin in pins} & set(kept)
    assert {len(losses) for losses in kept.values()} == {20}
    assert all(losses[-1] < losses[0] - 0.5 for losses in kept.values())
