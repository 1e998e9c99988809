"""The attainable peak, measured where the tests run."""

import time

import pytest

from megatron_music.errors import UsageError
from megatron_music.profiling.sweep import hardware

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_cpu_has_a_peak_in_every_precision(precision: str) -> None:
    begin = time.monotonic()
    peak = hardware.measure_peak(precision, "cpu", budget_s=0.4)
    assert time.monotonic() - begin < 4, "one started round is finished, on a busy machine too"
    assert 1e-5 < peak.tflops < 100
    assert peak.device


def test_the_fastest_round_and_size_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that does 1 GFLOP/s, 2 at width 512, and is disturbed in every other round."""
    disturbed = iter([3.0, 1.0] * 1000)

    def timer(_precision: str, _device: str, size: int) -> object:
        rate = 2e9 if size == 512 else 1e9
        return lambda repeats: 2 * size**3 * repeats / rate * next(disturbed)

    monkeypatch.setattr(hardware, "product_timer", timer)
    peak = hardware.measure_peak("fp32", "cpu", budget_s=20.0)
    assert peak.tflops == pytest.approx(2e9 / 1e12)
    assert "products of 512 x 512 matrices" in peak.source


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="there is no device 'cuda:99' here; choose cpu"):
        hardware.measure_peak("fp32", "cuda:99")


def test_a_precision_that_no_recipe_has_is_refused() -> None:
    with pytest.raises(UsageError, match="'fp8'; choose fp32, bf16, fp16"):
        hardware.measure_peak("fp8", "cpu")
