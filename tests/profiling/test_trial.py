"""One configuration measured on GPUs: what NVML told of them, and why it did not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from megatron_music.profiling.nvml.recording import read_samples
from megatron_music.profiling.report.render import notes
from megatron_music.profiling.sweep import trial
from megatron_music.profiling.sweep.hardware import Gpu, Machine, Peaks
from megatron_music.profiling.sweep.results import Row
from megatron_music.profiling.sweep.trial import TrialContext
from tests.profiling import fake_training
from tests.profiling.test_sweep import Write, behaviours, points, write

__all__ = ["write"]


@pytest.fixture
def measured(
    write: Write, tmp_path: Path, driver: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Row, Path, list[int]]]:
    """Measure a slow run on a stub of a driver: `measured(uuid, **settings)`.

    Returns its row, its folder and the iterations that were told.
    """

    def go(uuid: str, **settings: str) -> tuple[Row, Path, list[int]]:
        for name, value in (driver | settings).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(trial, "train_command", fake_training.command)
        (one,) = points(write(behaviours(fake_training.SLOW)))
        out, machine = tmp_path / "out", Machine((Gpu("Tesla V100-SXM3-32GB", uuid),), 2)
        context = TrialContext(out, machine, Peaks(tmp_path, machine, print))
        told: list[int] = []
        return trial.measure(one, context, 30, told.append), context.run(one), told

    return go


def test_nvml_is_recorded_around_a_run(
    measured: Callable[..., tuple[Row, Path, list[int]]],
) -> None:
    """On the stub of a driver: the GPU in use alone, between the warm-up and the last step."""
    row, folder, told = measured("00000000-0000-0000-0000-000000000001")  # as torch tells it
    assert (row.outcome, row.device, row.devices) == ("ok", "Tesla V100-SXM3-32GB", 1)
    assert (row.peak_tflops, row.peak_source) == (15.7, "NVIDIA V100 data sheet, NVLink")
    samples = read_samples(folder / trial.GPUS_FILE)
    assert {len(sample.devices) for sample in samples} == {1}
    assert row.energy_j is not None
    assert 0 < row.energy_j < 5 * len(samples)  # the stub counts 5 J a sample
    assert row.memory_bytes
    assert row.mean_power_w
    assert told[-1] == 4


@pytest.mark.parametrize(
    ("machine", "uuid", "remark"),
    [
        ({"STUB_MIG": "1"}, "MIG-00000000-0000-0000-0000-000000000101", "a GPU that is split by"),
        ({"STUB_INIT": "18"}, "00000000-0000-0000-0000-000000000001", "NVML does not start"),
    ],
)
def test_figures_that_nvml_does_not_give_are_missing_for_a_reason(
    machine: dict[str, str],
    uuid: str,
    remark: str,
    measured: Callable[..., tuple[Row, Path, list[int]]],
) -> None:
    row, _, _ = measured(uuid, **machine)
    assert (row.outcome, row.memory_bytes, row.energy_j) == ("ok", None, None)
    assert row.nvml_remark.startswith(remark)
    assert any(note.startswith(f"NVML: {remark}") for note in notes([row]))
