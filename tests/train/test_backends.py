"""Which precision, kernels, fusions and overlaps a device gets, over a table of devices."""

import re

import pytest

from megatron_music.config import Recipe, load_recipe
from megatron_music.errors import LayoutError, UsageError
from megatron_music.train.backends import (
    APEX_NORM,
    FUSED_WGRAD,
    TRANSFORMER_ENGINE,
    Device,
    choose_kernels,
    choose_overlaps,
    choose_sequence_parallel,
    cpu,
    fuses_gradient_accumulation,
    gpu,
    resolve_auto_precision,
)

V100 = gpu("Tesla V100-SXM3-32GB", (7, 0))
T4 = gpu("Tesla T4", (7, 5))
A100 = gpu("NVIDIA A100-SXM4-80GB", (8, 0))
H100 = gpu("NVIDIA H100 80GB HBM3", (9, 0))
B200 = gpu("NVIDIA B200", (10, 0))
NEW_CPU, AMX_CPU, OLD_CPU = cpu({"avx512_bf16"}), cpu({"amx_bf16"}), cpu({"avx2"})

NOTHING: frozenset[str] = frozenset()
APEX = frozenset({APEX_NORM, FUSED_WGRAD})
ENGINE = frozenset({TRANSFORMER_ENGINE})
TP2 = "parallel.tensor_model_parallel_size=2"
DISTRIBUTED = "parallel.use_distributed_optimizer=true"


def recipe(*overrides: str) -> Recipe:
    return load_recipe("tiny", ["train.precision=auto", "train.optimizer=adam", *overrides])


@pytest.mark.parametrize(
    ("device", "best", "others"),
    [
        (V100, "fp16", {"fp32"}),
        (T4, "fp16", {"fp32"}),
        (A100, "bf16", {"fp16", "fp32"}),
        (H100, "bf16", {"fp16", "fp32"}),
        (B200, "bf16", {"fp16", "fp32"}),
        (NEW_CPU, "bf16", {"fp32"}),
        (AMX_CPU, "bf16", {"fp32"}),
        (OLD_CPU, "fp32", set()),
    ],
)
def test_auto_takes_the_best_precision_and_what_a_device_cannot_do_is_refused(
    device: Device, best: str, others: set[str]
) -> None:
    assert resolve_auto_precision(recipe(), device).train.precision == best
    for asked in ("fp32", "bf16", "fp16"):
        given = recipe(f"train.precision={asked}")
        if asked in {best, *others}:
            assert resolve_auto_precision(given, device) == given
        else:
            with pytest.raises(
                UsageError, match=f"{asked} is not for .*use train.precision=.*{best}"
            ):
                resolve_auto_precision(given, device)


@pytest.mark.parametrize(
    ("device", "packages", "chosen", "text"),
    [
        (V100, ENGINE | APEX, "local", "Apex norms .*generation before"),
        (V100, NOTHING, "local", "scaled_dot_product_attention .*generation before"),
        (A100, ENGINE, "transformer_engine", "Transformer Engine"),
        (B200, ENGINE | APEX, "transformer_engine", "Transformer Engine"),
        (H100, APEX, "local", "Apex norms .*not installed"),
        (H100, NOTHING, "local", "not installed"),
        (NEW_CPU, ENGINE | APEX, "local", "attention by blocks .*layers .no GPU"),
    ],
)
def test_kernels_follow_from_the_generation_and_from_what_is_installed(
    device: Device, packages: frozenset[str], chosen: str, text: str
) -> None:
    found = choose_kernels("auto", device, packages)
    assert found.transformer_impl == chosen
    assert re.search(text, found.text)


def test_kernels_can_be_asked_for() -> None:
    assert choose_kernels("local", H100, ENGINE).transformer_impl == "local"
    assert choose_kernels("transformer_engine", H100, ENGINE).text == "Transformer Engine"
    for device, packages, why in (
        (V100, ENGINE, "generation before"),
        (H100, NOTHING, "not installed"),
        (NEW_CPU, ENGINE, "no GPU"),
    ):
        with pytest.raises(UsageError, match=f"cannot be had: .*{why}.*impl=local"):
            choose_kernels("transformer_engine", device, packages)


@pytest.mark.parametrize(
    ("asked", "device", "packages", "tensor", "expected"),
    [
        ("", H100, ENGINE, 2, True),
        ("auto", H100, ENGINE, 2, True),
        ("auto", V100, APEX, 2, True),
        ("auto", H100, ENGINE, 1, False),
        ("auto", H100, NOTHING, 2, False),
        ("auto", NEW_CPU, APEX, 2, False),
        ("true", H100, ENGINE, 2, True),
        ("false", H100, ENGINE, 2, False),
    ],
)
def test_sequence_parallel_is_chosen_where_the_norms_can_do_it(
    asked: str, device: Device, packages: frozenset[str], tensor: int, expected: bool
) -> None:
    size = f"parallel.tensor_model_parallel_size={tensor}"
    given = recipe(size, *([f"parallel.sequence_parallel={asked}"] if asked else []))
    kernels = choose_kernels("auto", device, packages)
    assert choose_sequence_parallel(given, device, kernels, packages) is expected


@pytest.mark.parametrize(("device", "packages"), [(H100, NOTHING), (NEW_CPU, ENGINE)])
def test_sequence_parallel_that_cannot_be_had_is_refused(
    device: Device, packages: frozenset[str]
) -> None:
    given = recipe("parallel.sequence_parallel=true", TP2)
    kernels = choose_kernels("auto", device, packages)
    with pytest.raises(LayoutError, match="needs a GPU with Transformer Engine or Apex"):
        choose_sequence_parallel(given, device, kernels, packages)


@pytest.mark.parametrize(
    ("overrides", "device", "data", "grads", "parameters"),
    [
        ([], H100, 8, True, False),
        ([DISTRIBUTED], H100, 8, True, True),
        ([DISTRIBUTED], H100, 1, False, False),
        ([DISTRIBUTED], NEW_CPU, 2, False, False),
        (["parallel.overlap_grad_reduce=true"], NEW_CPU, 2, True, False),
        (["parallel.overlap_grad_reduce=false", DISTRIBUTED], H100, 8, False, False),
        (["parallel.overlap_param_gather=false", DISTRIBUTED], H100, 8, True, False),
    ],
)
def test_communication_overlaps_where_it_can_and_helps(
    overrides: list[str], device: Device, data: int, grads: bool, parameters: bool
) -> None:
    found = choose_overlaps(recipe(*overrides), device, data)
    assert (found.grad_reduce, found.param_gather) == (grads, parameters)


def test_late_parameters_need_the_distributed_optimizer() -> None:
    with pytest.raises(LayoutError, match=r"needs .*use_distributed_optimizer=true"):
        choose_overlaps(recipe("parallel.overlap_param_gather=true"), H100, 8)


def test_weight_gradients_are_fused_by_apex_on_a_gpu_alone() -> None:
    assert fuses_gradient_accumulation(V100, APEX)
    assert not fuses_gradient_accumulation(V100, NOTHING)
    assert not fuses_gradient_accumulation(NEW_CPU, APEX)
