"""What a recording amounts to, on recordings made up by hand."""

from pathlib import Path

import pytest

from megatron_music.errors import InputError
from megatron_music.profiling.nvml.reader import DeviceSample, Sample, to_json
from megatron_music.profiling.nvml.recording import read_samples, summarize, total_energy_j


def one_gpu(**columns: list[object]) -> list[Sample]:
    """One GPU, a sample a second; each column is a field's values."""
    rows = zip(*columns.values(), strict=True)
    return [
        Sample(float(second), (DeviceSample(0, "GPU-aa", **dict(zip(columns, row, strict=True))),))
        for second, row in enumerate(rows)
    ]


REASONS = [("power cap",), ("power cap", "thermal, hardware"), (), None]


@pytest.mark.parametrize(
    ("columns", "figures"),
    [
        ({"gpu_utilization": [0, 50, 100]}, {"mean_utilization": 50}),
        ({"gpu_utilization": [100, None, 50]}, {"mean_utilization": 75}),  # None is not zero
        ({"power_w": [100.0, 200.0, 330.0]}, {"mean_power_w": 210}),
        ({"sm_clock_mhz": [1000, 1200, 1400]}, {"mean_sm_clock_mhz": 1200}),
        ({"memory_used_bytes": [5, 9, 7]}, {"max_memory_bytes": 9}),
        ({"temperature_c": [50, 60, 55]}, {"max_temperature_c": 60}),
        # Energy is the counter's, not summed power; one that starts anew is followed.
        ({"energy_mj": [5_000_000, 5_400_000, 6_000_000], "power_w": [1] * 3}, {"energy_j": 1000}),
        ({"energy_mj": [9_000_000, 9_500_000, 200_000, 300_000]}, {"energy_j": 800}),
        ({"energy_mj": [1000, None, 3000]}, {"energy_j": 2}),
        ({"throttle_reasons": REASONS},
         {"throttled": {"power cap": 0.5, "thermal, hardware": 0.25}}),
        ({"temperature_c": [40, 41]}, dict.fromkeys(
            ("mean_utilization", "mean_power_w", "energy_j"))),
    ],
)  # fmt: skip
def test_figures_of_one_gpu(columns: dict[str, list[object]], figures: dict[str, object]) -> None:
    _, (device,) = summarize(one_gpu(**columns))
    assert {name: getattr(device, name) for name in figures} == figures


def two_gpus(*counters: tuple[int | None, int | None]) -> list[Sample]:
    return [
        Sample(
            float(second),
            (
                DeviceSample(0, "GPU-aa", energy_mj=one),
                DeviceSample(1, "GPU-bb", energy_mj=other),
            ),
        )
        for second, (one, other) in enumerate(counters)
    ]


def test_energy_is_of_all_gpus_together_and_not_guessed_where_one_does_not_count_it() -> None:
    assert total_energy_j(summarize(two_gpus((0, 0), (300_000, 700_000)))[1]) == 1000
    assert total_energy_j(summarize(two_gpus((0, None), (300_000, None)))[1]) is None


def test_a_window_leaves_out_the_warm_up() -> None:
    samples = one_gpu(gpu_utilization=[0, 0, 80, 90, 100, 0])
    duration_s, (gpu,) = summarize(samples, start_s=2, end_s=4)
    assert (duration_s, gpu.mean_utilization) == (2, 90)


def test_a_window_without_samples_is_refused() -> None:
    with pytest.raises(InputError, match="none of 2 samples"):
        summarize(one_gpu(gpu_utilization=[1, 2]), start_s=100)


def test_a_gpu_keeps_its_row_at_any_index() -> None:
    samples = two_gpus((0, 0), (1000, 5000))
    turned = [samples[0], Sample(1.0, samples[1].devices[::-1])]
    assert [device.energy_j for device in summarize(turned)[1]] == [1, 5]


LINES = [to_json(sample) for sample in one_gpu(temperature_c=[1, 2])]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (None, "No such file"),
        ([], "holds no sample"),
        ([LINES[0], "once upon a time", ""], r"gpus\.jsonl, line 2: 'once"),
        ([*LINES, LINES[0][:20]], None),  # a last line that was cut off is left out
    ],
)
def test_a_recording_is_read_or_refused(
    tmp_path: Path, lines: list[str] | None, told: str | None
) -> None:
    if lines is not None:
        (tmp_path / "gpus.jsonl").write_text("\n".join(lines))
    if told is None:
        assert len(read_samples(tmp_path / "gpus.jsonl")) == 2
        return
    with pytest.raises(InputError, match=told):
        read_samples(tmp_path / "gpus.jsonl")
