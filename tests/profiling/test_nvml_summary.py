"""What a recording amounts to, on recordings made up by hand."""

from pathlib import Path

import pytest

from megatron_music.errors import InputError
from megatron_music.profiling.nvml.reader import DeviceSample, Sample, to_json
from megatron_music.profiling.nvml.summary import DeviceSummary, read_samples, summarize


def one_gpu(**columns: list[object]) -> list[Sample]:
    """One GPU, a sample a second; each column is a field's values."""
    rows = zip(*columns.values(), strict=True)
    return [
        Sample(float(second), (DeviceSample(0, "GPU-aa", **dict(zip(columns, row, strict=True))),))
        for second, row in enumerate(rows)
    ]


def summary_of(**columns: list[object]) -> DeviceSummary:
    (device,) = summarize(one_gpu(**columns)).devices
    return device


def test_utilisation_power_and_clock_are_means_and_maxima() -> None:
    device = summary_of(
        gpu_utilization=[0, 50, 100], power_w=[100.0, 200.0, 330.0], sm_clock_mhz=[1000, 1200, 1400]
    )
    assert (device.mean_utilization, device.max_utilization) == (50, 100)
    assert (device.mean_power_w, device.max_power_w) == (210, 330)
    assert device.mean_sm_clock_mhz == 1200


def test_memory_and_temperature_are_their_highest() -> None:
    device = summary_of(memory_used_bytes=[5, 9, 7], temperature_c=[50, 60, 55])
    assert (device.max_memory_bytes, device.max_temperature_c) == (9, 60)


def test_energy_is_the_counter_s_not_summed_power() -> None:
    device = summary_of(energy_mj=[5_000_000, 5_400_000, 6_000_000], power_w=[1.0, 1.0, 1.0])
    assert device.energy_j == 1000


def test_a_counter_that_starts_anew_is_followed() -> None:
    assert summary_of(energy_mj=[9_000_000, 9_500_000, 200_000, 300_000]).energy_j == 800


def test_samples_without_a_figure_do_not_count_as_zero() -> None:
    device = summary_of(gpu_utilization=[100, None, 50], energy_mj=[1000, None, 3000])
    assert device.mean_utilization == 75
    assert device.energy_j == 2


def test_figures_that_were_never_reported_are_none() -> None:
    device = summary_of(temperature_c=[40, 41])
    assert (device.mean_utilization, device.mean_power_w, device.energy_j) == (None, None, None)
    assert device.nvlink_bytes is None


def test_traffic_is_what_was_sent_and_received_meanwhile() -> None:
    device = summary_of(
        pcie_tx_bytes=[10, 15], pcie_rx_bytes=[1, 2], nvlink_tx_bytes=[0, 7], nvlink_rx_bytes=[0, 8]
    )
    assert (device.pcie_bytes, device.nvlink_bytes) == (6, 15)


def test_each_reason_for_low_clocks_has_its_share_of_the_time() -> None:
    reasons = [("power cap",), ("power cap", "thermal, hardware"), (), None]
    device = summary_of(throttle_reasons=reasons)
    assert device.throttled == {"power cap": 0.5, "thermal, hardware": 0.25}


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


def test_joules_per_million_tokens_are_of_all_gpus_together() -> None:
    summary = summarize(two_gpus((0, 0), (300_000, 700_000)))
    assert summary.energy_j == 1000
    assert summary.joules_per_million_tokens(500_000) == 2000


def test_energy_that_one_gpu_does_not_count_is_not_guessed() -> None:
    summary = summarize(two_gpus((0, None), (300_000, None)))
    assert summary.energy_j is None
    assert summary.joules_per_million_tokens(500_000) is None


@pytest.mark.parametrize("tokens", [0, -5])
def test_energy_cannot_be_shared_among_no_tokens(tokens: int) -> None:
    with pytest.raises(InputError, match=f"among {tokens} tokens"):
        summarize(two_gpus((0, 0), (1, 1))).joules_per_million_tokens(tokens)


def test_a_window_leaves_out_the_warm_up() -> None:
    samples = one_gpu(gpu_utilization=[0, 0, 80, 90, 100, 0])
    summary = summarize(samples, start_s=2, end_s=4)
    assert summary.duration_s == 2
    assert summary.devices[0].mean_utilization == 90


def test_a_window_without_samples_is_refused() -> None:
    with pytest.raises(InputError, match="none of 2 samples"):
        summarize(one_gpu(gpu_utilization=[1, 2]), start_s=100)


def test_a_gpu_keeps_its_row_at_any_index() -> None:
    samples = two_gpus((0, 0), (1000, 5000))
    turned = [samples[0], Sample(1.0, samples[1].devices[::-1])]
    assert [device.energy_j for device in summarize(turned).devices] == [1, 5]


def test_a_lost_gpu_is_reported() -> None:
    assert summary_of(lost=[False, True]).lost
    assert not summary_of(lost=[False, False]).lost


def written(folder: Path, *lines: str) -> Path:
    file = folder / "gpus.jsonl"
    file.write_text("\n".join(lines))
    return file


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    whole = [to_json(sample) for sample in one_gpu(temperature_c=[1, 2])]
    assert len(read_samples(written(tmp_path, *whole, whole[0][:20]))) == 2


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    whole = to_json(one_gpu(temperature_c=[1])[0])
    with pytest.raises(InputError, match=r"gpus\.jsonl, line 2: 'once"):
        read_samples(written(tmp_path, whole, "once upon a time", ""))


def test_an_empty_recording_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no sample"):
        read_samples(written(tmp_path))


def test_a_missing_recording_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_samples(tmp_path / "gpus.jsonl")
