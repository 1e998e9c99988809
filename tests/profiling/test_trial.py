"""One configuration measured on GPUs: what NVML told of them, and why it did not."""

from pathlib import Path

import pytest

from megatron_music.profiling.nvml.summary import read_samples
from megatron_music.profiling.report.render import notes
from megatron_music.profiling.sweep import trial
from megatron_music.profiling.sweep.hardware import Gpu, Machine, Peaks
from megatron_music.profiling.sweep.results import figures
from megatron_music.profiling.sweep.trial import TrialContext
from tests.profiling import fake_training
from tests.profiling.test_sweep import Write, behaviours, points, write

__all__ = ["write"]


def test_nvml_is_recorded_around_a_run(
    write: Write, tmp_path: Path, driver: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the stub of a driver: the GPU in use alone, between the warm-up and the last step."""
    for name, value in driver.items():
        monkeypatch.setenv(name, value)
    uuid = "00000000-0000-0000-0000-000000000001"  # the second one's, as torch tells it
    monkeypatch.setattr(trial, "train_command", fake_training.command)
    (one,) = points(write(behaviours(fake_training.SLOW)))
    machine = Machine((Gpu("Tesla V100-SXM3-32GB", uuid),), 2)
    context = TrialContext(
        tmp_path / "out", tmp_path / "out" / "data", machine, Peaks(tmp_path, machine, print)
    )
    told: list[int] = []
    row = trial.measure(one, context, 30, told.append)
    assert (row.outcome, row.device, row.devices) == ("ok", "Tesla V100-SXM3-32GB", 1)
    assert (row.peak_tflops, row.peak_source) == (15.7, "NVIDIA V100 data sheet, NVLink")
    samples = read_samples(context.run(one) / trial.GPUS_FILE)
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
    write: Write,
    tmp_path: Path,
    driver: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (driver | machine).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(trial, "train_command", fake_training.command)
    (one,) = points(write(behaviours(fake_training.SLOW)))
    gpus = Machine((Gpu("Tesla V100-SXM3-32GB", uuid),), 2)
    context = TrialContext(
        tmp_path / "out", tmp_path / "out" / "data", gpus, Peaks(tmp_path, gpus, print)
    )
    row = trial.measure(one, context, 30, lambda _: None)
    assert (row.outcome, row.memory_bytes, row.energy_j) == ("ok", None, None)
    assert row.nvml_remark.startswith(remark)
    assert any(note.startswith(f"NVML: {remark}") for note in notes([figures(row)]))
