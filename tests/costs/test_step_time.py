"""A step's time from loads worked by hand: rooflines, rings, what hides, the pipeline's bubble."""

import re
from dataclasses import replace
from typing import Any

import pytest

from megatron_music.config import load_recipe
from megatron_music.costs.devices import Hardware, hardware_of, known_devices
from megatron_music.costs.step_time import (
    RankLoad,
    RankMemory,
    Transfer,
    Work,
    estimate_step,
    transfer_s,
)
from megatron_music.errors import UsageError

PEAK_TFLOPS = 100.0
IDEAL = Hardware(
    memory_gb_s=1000,
    link_gb_s=100,
    network_gb_s=10,
    gpus_per_node=8,
    matmul_share=1,
    attention_share=0.5,
    memory_share=1,
    link_share=1,
    launch_us=1e-9,
    latency_us=1e-9,
)
NOTHING = RankMemory(0, 0, 0, 0)


def sent(kind: str, ranks: tuple[int, ...], gigabytes: float = 1.0, **changes: Any) -> Transfer:
    transfer = Transfer(
        "step", kind, "data", ranks, "bfloat16", (1,), round(gigabytes * 1e9), False
    )
    return replace(transfer, **changes)


@pytest.mark.parametrize(
    ("kind", "ranks", "expected_s"),
    [
        ("all_reduce", (0, 1, 2, 3), 2 * 3 / 4 / 100),
        ("all_gather", (0, 1, 2, 3), 3 / 4 / 100),
        ("reduce_scatter", (0, 1), 1 / 2 / 100),
        ("all_gather", (0, 8), 1 / 2 / 10),  # one network port a node
        ("all_gather", tuple(range(16)), 15 / 16 / 80),  # eight of them
    ],
)
def test_a_ring_takes_its_share_of_the_slowest_link(
    kind: str, ranks: tuple[int, ...], expected_s: float
) -> None:
    assert transfer_s(sent(kind, ranks), IDEAL) == pytest.approx(expected_s)


def test_a_send_and_a_receive_run_at_once() -> None:
    both = [transfer_s(sent(kind, (0, 8), group="pipeline"), IDEAL) for kind in ("send", "recv")]
    assert sum(both) == pytest.approx(1 / 10)


def test_every_call_waits_for_the_links_latency() -> None:
    slow = replace(IDEAL, latency_us=50)
    assert transfer_s(sent("all_reduce", (0, 1), 0.0, calls=4), slow) == pytest.approx(200e-6)


def load(stage: int = 0, *transfers: Transfer, forward: Work | None = None) -> RankLoad:
    work = {"forward": forward or Work({(1e12, 0.0): 1.0}), "backward": Work(), "step": Work()}
    return RankLoad(stage, stage, 0, NOTHING, work, transfers)  # type: ignore[arg-type]


def step(*loads: RankLoad, hardware: Hardware = IDEAL, **layout: int) -> Any:
    settings = {"train.global_batch_size": 8, "train.micro_batch_size": 1, **layout}
    recipe = load_recipe("tiny", [f"{key}={value}" for key, value in settings.items()])
    world = recipe.parallel.pipeline_model_parallel_size
    return estimate_step(recipe, 425, loads, world, PEAK_TFLOPS, hardware)


def test_a_product_takes_as_long_as_its_flops_or_its_matrices() -> None:
    wide = Work({(1e12, 1e9): 2.0})  # 10 ms by FLOPs, 1 ms by bytes
    narrow = Work({(1e10, 4e9): 1.0})  # 0.1 ms, 4 ms
    assert step(load(forward=wide)).compute_s == pytest.approx(8 * 0.020)
    assert step(load(forward=narrow)).compute_s == pytest.approx(8 * 0.004)


def test_attention_and_moved_bytes_are_added_and_kernels_take_time_to_start() -> None:
    work = Work({}, attention_flops=1e12, moved_bytes=2e9, kernels=100)
    assert step(load(forward=work)).compute_s == pytest.approx(8 * (0.020 + 0.002))
    slow = replace(IDEAL, launch_us=1000)
    assert step(load(forward=work), hardware=slow).compute_s == pytest.approx(8 * 0.1)


def test_tensor_parallel_transfers_overlap_with_half_the_products() -> None:
    passing = {"group": "tensor", "phase": "forward"}  # 10 ms of products, half of which hide
    waited = sent("all_gather", (0, 1), **passing)
    hidden = sent("all_gather", (0, 1), 2.0, **passing, is_async=True)
    assert step(load(0, waited)).tensor_s == pytest.approx(8 * 0.005)
    assert step(load(0, hidden)).tensor_s == pytest.approx(8 * (0.010 - 0.005))


def test_data_parallel_transfers_but_one_bucket_overlap_with_a_pass() -> None:
    within = sent("all_gather", (0, 1), 0.5, phase="forward", calls=2)  # 5 ms in 10 ms
    beyond = sent("all_gather", (0, 1), 2.0, phase="forward", calls=2)  # 20 ms in 10 ms
    after = sent("all_gather", (0, 1), 1.0, phase="step")
    assert step(load(0, within)).data_s == pytest.approx(0.0025)
    assert step(load(0, beyond)).data_s == pytest.approx(0.010)
    assert step(load(0, after)).data_s == pytest.approx(0.005)


def test_the_other_stages_are_the_bubble_and_the_slowest_sets_the_pace() -> None:
    stages = [load(stage) for stage in (0, 1, 3)]  # the middle one stands for two
    found = step(*stages, **{"model.num_layers": 4, "parallel.pipeline_model_parallel_size": 4})
    assert found.bubble_s == pytest.approx(3 * 0.010)
    assert found.step_s == pytest.approx((8 + 3) * 0.010)
    slow = load(1, forward=Work({(2e12, 0.0): 1.0}))
    found = step(
        load(0), slow, **{"model.num_layers": 4, "parallel.pipeline_model_parallel_size": 2}
    )
    assert found.step_s == pytest.approx(8 * 0.020 + 0.010)


def test_bandwidths_are_known_of_every_device_with_a_peak() -> None:
    for device in known_devices():
        assert hardware_of(device).memory_gb_s > hardware_of(device).link_gb_s


def test_assumptions_take_the_place_of_what_is_known() -> None:
    found = hardware_of("NVIDIA H200", ["network_gb_s=25", "gpus_per_node=4"])
    assert (found.network_gb_s, found.gpus_per_node, found.memory_gb_s) == (25, 4, 4800)


@pytest.mark.parametrize(
    ("assumption", "message"),
    [
        ("speed=3", "knows no 'speed'; there are memory_gb_s"),
        ("network_gb_s", r"must be a number above 0 \(got ''\)"),
        ("network_gb_s=-1", r"above 0 \(got '-1'\)"),
        ("matmul_share=1.5", r"in \(0, 1\] \(got '1.5'\)"),
        ("gpus_per_node=2.5", "a whole number above 0"),
    ],
)
def test_an_assumption_that_means_nothing_is_refused(assumption: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        hardware_of("NVIDIA H200", [assumption])
    assert re.search(message, str(refused.value))
