"""Megatron in this very process, on the CPU: model, batches, schedule, device rules."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("megatron.core")

from megatron_music.config import Recipe, load_recipe  # noqa: E402
from megatron_music.costs.memory import parameter_count  # noqa: E402
from megatron_music.errors import UsageError  # noqa: E402
from megatron_music.tokenizer.structure import INPUTS, position_rows  # noqa: E402
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary  # noqa: E402
from megatron_music.train import backends, distributed  # noqa: E402
from megatron_music.train.backends import TRANSFORMER_ENGINE  # noqa: E402
from megatron_music.train.cpu import patch_cuda_calls_to_cpu  # noqa: E402
from megatron_music.train.distributed import ParallelContext  # noqa: E402
from megatron_music.train.model import build_model, transformer_config  # noqa: E402
from megatron_music.train.optimizer import build_train_state  # noqa: E402
from tests.train.conftest import SMALL, execute, launch  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
VOCABULARY = Vocabulary(TokenizerSettings())


def recipe(*overrides: str) -> Recipe:
    return load_recipe("tiny", [*SMALL, "train.train_iters=6", *overrides])


@pytest.fixture
def context() -> Iterator[ParallelContext]:
    with distributed.start(recipe(), on_cpu=True) as started:
        yield started


def test_alone_no_port_is_needed_and_the_layout_is_one(context: ParallelContext) -> None:
    assert (context.rank, context.world_size, context.data_parallel_size) == (0, 1, 1)
    assert context.total([1.5, 2.0]) == [1.5, 2.0]


def test_torch_is_itself_again_after_the_cpu_stand_ins() -> None:
    before = torch.cuda.current_device
    with patch_cuda_calls_to_cpu():
        assert torch.zeros(1, device="cuda").device.type == "cpu"
        assert torch.zeros(1).cuda().type() == "torch.cuda.FloatTensor"
    assert torch.cuda.current_device is before
    assert torch.zeros(1).type() == "torch.FloatTensor"


@pytest.mark.parametrize("inputs", [(), INPUTS])
def test_the_number_of_parameters_is_that_of_the_estimate(
    context: ParallelContext, inputs: tuple[str, ...]
) -> None:
    given = recipe(f"model.structural_inputs={list(inputs)}")
    model = build_model(given, VOCABULARY, context)
    rows = position_rows(inputs, given.model.seq_length, VOCABULARY)
    count = sum(p.numel() for p in model.parameters())
    assert count == parameter_count(given.model, len(VOCABULARY), rows.total)


def test_one_seed_gives_one_model_and_another_seed_another(context: ParallelContext) -> None:
    def weight(*overrides: str) -> Any:
        model = build_model(recipe(*overrides), VOCABULARY, context)
        return model.decoder.layers[0].mlp.linear_fc1.weight

    assert torch.equal(weight(), weight())
    assert not torch.equal(weight(), weight("train.seed=4"))


@pytest.mark.parametrize(
    ("precision", "packages", "gelu", "loss"),
    [("bf16", {TRANSFORMER_ENGINE}, True, True), ("fp16", set(), False, False)],
)
def test_a_gpu_fuses_what_its_kernels_leave_apart(
    context: ParallelContext,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    packages: set[str],
    gelu: bool,
    loss: bool,
) -> None:
    monkeypatch.setattr(backends, "installed", lambda: frozenset(packages))
    hopper = replace(context, device=torch.device("cuda"), kind=backends.gpu("H100", (9, 0)))
    config = transformer_config(recipe(f"train.precision={precision}"), hopper)
    assert (config.bias_activation_fusion, config.cross_entropy_loss_fusion) == (gelu, loss)
    assert config.bias_dropout_fusion
    at_home = transformer_config(recipe(), context)
    assert not at_home.bias_activation_fusion
    assert not at_home.bias_dropout_fusion


def test_the_rate_warms_up_and_ends_at_its_minimum(context: ParallelContext) -> None:
    given = recipe("train.lr_warmup_iters=50", "train.lr=1e-3", "train.min_lr=1e-4")
    train_state = build_train_state(given, build_model(given, VOCABULARY, context), context)
    rates = []
    for _ in range(6):
        train_state.scheduler.step(1)
        rates.append(train_state.learning_rate)
    assert rates == pytest.approx([2e-4, 4e-4, 6e-4, 8e-4, 1e-3, 1e-4])


def test_random_numbers_follow_from_seed_and_iteration(context: ParallelContext) -> None:
    context.reseed(1, 7)
    first = torch.rand(3)
    context.reseed(1, 8)
    second = torch.rand(3)
    context.reseed(1, 7)
    assert torch.equal(torch.rand(3), first)
    assert not torch.equal(first, second)


def test_fp16_on_a_cpu_is_refused() -> None:
    refused = pytest.raises(UsageError, match=r"fp16 is not for .* CPU.*; use train.precision=")
    with refused, distributed.start(recipe("train.precision=fp16"), on_cpu=True):
        pass


@pytest.mark.slow
def test_all_ranks_refuse_and_one_says_why(data: Path, tmp_path: Path) -> None:
    arguments = ["train", "tiny", "--data", str(data), "--run-dir", str(tmp_path), *SMALL]
    done = execute(*launch(2, *arguments, "parallel.tensor_model_parallel_size=3"))
    assert done.returncode != 0
    assert done.stderr.count("error: parallel.tensor_model_parallel_size=3 does not divide") == 1
