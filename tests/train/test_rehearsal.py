"""Every distinct rank of a layout, built and stepped without a GPU; every layout of the docs."""

import importlib
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist

from megatron_music.config import Recipe, load_recipe
from megatron_music.costs.flops import padded_vocab_size
from megatron_music.costs.memory import estimate_memory
from megatron_music.costs.step_time import RankLoad
from megatron_music.errors import LayoutError, TrainingError, UsageError
from megatron_music.tokenizer.structure import position_rows
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary
from megatron_music.train import backends
from megatron_music.train.blend import Blend
from megatron_music.train.rehearsal.fake_gpu import GPU, fake_rank
from megatron_music.train.rehearsal.meter import Meter
from megatron_music.train.rehearsal.plan import rehearse_on
from megatron_music.train.rehearsal.rehearse import check_agreement, distinct_ranks, rehearse

H100 = "NVIDIA H100 80GB HBM3"
TP = "parallel.tensor_model_parallel_size"
PP = "parallel.pipeline_model_parallel_size"
DISTRIBUTED = "parallel.use_distributed_optimizer=true"
VOCABULARY = 425
Blends = Callable[[Recipe], Blend]

LAYOUTS = [
    ("tiny", 1, []),
    ("article", 8, []),
    ("article", 8, [f"{TP}=2"]),
    ("article", 8, [f"{TP}=2", f"{PP}=2", DISTRIBUTED]),
    ("small", 4, []),
    ("medium", 16, []),
    ("medium", 16, [f"{TP}=8", f"{PP}=2"]),
    ("musenet", 8, []),
    ("musenet", 256, [f"{TP}=2"]),
    ("musenet", 1024, [f"{TP}=8"]),
    ("musenet", 1024, [f"{TP}=4", f"{PP}=4", "train.recompute=none"]),
    ("profile-small", 16, ["train.micro_batch_size=4"]),
    ("profile-medium", 8, [f"{TP}=2", f"{PP}=2"]),
    ("profile-large", 8, [f"{TP}=8"]),
]
"""The layouts that docs/ and profiling/ give for the recipes. Ranks of a stage hold equal layers,
so that two of them show what all do."""


def shallow(name: str, overrides: list[str]) -> Recipe:
    recipe = load_recipe(name, [*overrides, "train.precision=bf16"])
    layers = min(recipe.model.num_layers, 2 * recipe.parallel.pipeline_model_parallel_size)
    model = recipe.model.model_copy(update={"num_layers": layers})
    return recipe.model_copy(update={"model": model})


@pytest.fixture(scope="module")
def blend(tmp_path_factory: pytest.TempPathFactory) -> Blends:
    """Return random tokens in documents of a length."""
    synthetic = importlib.import_module("megatron_music.profiling.sweep.synthetic")
    folder = tmp_path_factory.mktemp("data")
    return lambda recipe: Blend.of(synthetic.synthetic_data(folder, recipe.model.seq_length))


@pytest.mark.parametrize(("name", "gpus", "overrides"), LAYOUTS)
def test_every_recipe_steps_at_the_layouts_of_the_docs(
    name: str, gpus: int, overrides: list[str], blend: Blends
) -> None:
    recipe = shallow(name, overrides)
    found = rehearse_on(recipe, blend(recipe), H100, gpus)
    assert [load.rank for load in found.loads] == distinct_ranks(recipe, gpus)
    shape = recipe.model
    rows = position_rows(shape.structural_inputs, shape.seq_length, Vocabulary(TokenizerSettings()))
    estimated = estimate_memory(recipe, VOCABULARY, found.data_parallel_size, rows.total)
    fullest = next(load for load in found.loads if load.stage == estimated.stage).memory
    for part in ("weights", "gradients", "optimizer"):  # but for padding
        assert getattr(fullest, part) == pytest.approx(getattr(estimated, part), rel=0.002)
    values = 2 * recipe.train.micro_batch_size * recipe.model.seq_length
    passing = values * (8 * recipe.model.hidden_size + 4 * padded_vocab_size(VOCABULARY))
    assert 0.98 * estimated.total < fullest.total < 1.1 * estimated.total + passing
    assert 0 < found.time.utilisation < found.hardware.matmul_share
    groups = {transfer.group for load in found.loads for transfer in load.transfers} - {"all"}
    parallel = recipe.parallel
    assert ("tensor" in groups) == (parallel.tensor_model_parallel_size > 1)
    assert ({"pipeline", "embedding"} <= groups) == (parallel.pipeline_model_parallel_size > 1)
    assert ("data" in groups) == (found.data_parallel_size > 1)


@pytest.fixture(scope="module")
def split(blend: Blends) -> list[RankLoad]:
    """Four stages of two tensor and two data parallel ranks."""
    recipe = shallow("small", [f"{TP}=2", f"{PP}=4", DISTRIBUTED, "train.micro_batch_size=4"])
    return rehearse(recipe, blend(recipe), backends.gpu(H100, (9, 0)), 16)


def test_first_middle_and_last_stages_and_data_ranks_are_rehearsed(split: list[RankLoad]) -> None:
    places = [(load.rank, load.stage, load.data_rank) for load in split]
    assert places == [(0, 0, 0), (3, 0, 1), (4, 1, 0), (7, 1, 1), (12, 3, 0), (15, 3, 1)]


def test_products_are_those_of_the_formula(split: list[RankLoad]) -> None:
    width, layers, tokens = 768, 2, 4 * 2048
    of_layers = 2 * tokens * layers * 12 * width**2 / 2  # over two tensor parallel ranks
    head = 2 * tokens * padded_vocab_size(VOCABULARY) * width / 2
    found = {load.stage: load.work for load in split}
    assert found[1]["forward"].matmul_flops == of_layers
    assert found[3]["forward"].matmul_flops == of_layers + head
    assert found[3]["backward"].matmul_flops == 2 * (of_layers + head)
    attention = 4 * 4 * 2048**2 * width / 2 * layers / 2  # causal: half of the square
    assert found[1]["forward"].attention_flops == attention


def test_a_stage_passes_on_its_share_of_a_sequence(split: list[RankLoad]) -> None:
    first = next(load for load in split if load.rank == 0)
    passed = {one.kind: one for one in first.transfers if one.group == "pipeline"}
    assert set(passed) == {"send", "recv"}
    for one in passed.values():
        assert (one.shape, one.dtype, one.calls) == ((4 * 2048 // 2, 1, 768), "bfloat16", 1)
    assert (passed["send"].ranks, passed["recv"].ranks) == ((0, 4), (4, 0))


def test_gradients_are_reduced_and_weights_gathered_once_a_step(split: list[RankLoad]) -> None:
    first = split[0]
    once = {(one.kind, one.dtype): 0 for one in first.transfers if one.group == "data"}
    for one in first.transfers:
        if one.group == "data":
            once[one.kind, one.dtype] += one.size_bytes
            assert one.is_once
    assert once[("reduce_scatter", "float32")] == first.memory.gradients
    assert once[("all_gather", "bfloat16")] == first.memory.weights


def _without(split: list[RankLoad], rank: int, group: str) -> list[RankLoad]:
    return [
        replace(
            load,
            transfers=tuple(
                one for one in load.transfers if (load.rank, one.group) != (rank, group)
            ),
        )
        for load in split
    ]


@pytest.mark.parametrize(
    ("rank", "group", "told"),
    [
        (4, "pipeline", "ranks 0 and 4 would wait"),
        (15, "data", "ranks 12 and 15 would wait"),
        (12, "embedding", "ranks 12 and 15|ranks 0 and 12"),
    ],
)
def test_ranks_that_would_wait_for_one_another_are_refused(
    split: list[RankLoad], rank: int, group: str, told: str
) -> None:
    with pytest.raises(TrainingError, match=told):
        check_agreement(_without(split, rank, group))


FAULTS: list[tuple[Callable[[], object], str]] = [
    (lambda: dist.all_reduce(torch.ones(3)), "all_reduce of a tensor that is not on the GPU"),
    (
        lambda: dist.all_gather_into_tensor(
            torch.empty(7, device="cuda"), torch.empty(2, device="cuda")
        ),
        "all_gather over 4 ranks of sizes that do not fit",
    ),
    (
        lambda: dist.reduce_scatter_tensor(
            torch.empty(2, device="cuda", dtype=torch.bfloat16), torch.empty(8, device="cuda")
        ),
        "reduce_scatter of several dtypes",
    ),
    (
        lambda: torch.ones(3, 3, device="cuda") @ torch.ones(3, 3),
        "same device|tensors of the CPU",
    ),
]


@pytest.mark.parametrize(("fault", "told"), FAULTS)
def test_what_a_gpu_would_refuse_is_found(fault: Callable[[], object], told: str) -> None:
    recipe = load_recipe("tiny", ["train.precision=bf16"])
    with (
        fake_rank(recipe, backends.gpu(H100, (9, 0)), 0, 4),
        Meter(GPU),
        pytest.raises((TrainingError, RuntimeError), match=told),
    ):
        fault()


def test_nothing_is_left_of_a_rehearsal() -> None:
    before = (
        dist.new_group,
        torch.autograd.backward,
        backends.installed,
        torch.cuda.current_device,
    )
    recipe = load_recipe("tiny", ["train.precision=bf16"])
    with fake_rank(recipe, backends.gpu(H100, (9, 0)), 3, 4) as context:
        assert (context.rank, context.is_cuda, context.data_parallel_size) == (3, True, 4)
        assert torch.ones(2, device="cuda").is_cuda
    after = (dist.new_group, torch.autograd.backward, backends.installed, torch.cuda.current_device)
    assert after == before
    assert not dist.is_initialized()
    assert not torch.ones(2).is_cuda


def test_a_rank_that_would_not_fit_is_refused_with_its_parts(blend: Blends) -> None:
    recipe = shallow("profile-large", ["train.micro_batch_size=64", "model.hidden_size=4096"])
    with pytest.raises(
        LayoutError, match=r"rank 0 .*would hold .*activations .* has 14.9.*smaller train.micro"
    ):
        rehearse_on(
            recipe.model_copy(
                update={"train": recipe.train.model_copy(update={"precision": "fp16"})}
            ),
            blend(recipe),
            "Tesla T4",
            1,
        )


def test_a_device_of_which_nothing_is_known_is_refused(blend: Blends) -> None:
    with pytest.raises(UsageError, match="no peak is known"):
        rehearse_on(load_recipe("tiny"), blend(load_recipe("tiny")), "H100", 1)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
def test_every_precision_and_recomputation_steps(
    precision: str, recompute: str, blend: Blends
) -> None:
    changes = [f"train.recompute={recompute}", f"{TP}=2"]
    recipe = shallow("article", changes)
    train = recipe.train.model_copy(update={"precision": precision})
    found = rehearse_on(recipe.model_copy(update={"train": train}), blend(recipe), H100, 2)
    again = 4 if recompute == "full" else 3  # the forward pass twice
    (load,) = found.loads
    products = load.work["forward"].matmul_flops + load.work["backward"].matmul_flops
    head = 2 * 8 * 2048 * 512 * 512 / 2
    layers = load.work["forward"].matmul_flops - head
    assert products == again * layers + 3 * head
